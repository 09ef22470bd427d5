"""Measure networks side by side: time, peak memory, multiply-adds; for the tools beside it."""
