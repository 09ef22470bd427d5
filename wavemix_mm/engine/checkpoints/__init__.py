"""Checkpoint files: write, find, read without running code, fit to a model."""
