"""Train several segmentation configs under one budget, and compare what came of it.

The driver is `tools/analysis_tools/compare.py`.
"""
