"""Time and memory of models, side by side: tools/analysis_tools/benchmark.py and benchmark_dwt.py.

Read in this order: specs (what is named), models and authors (what is built), candidates (how it
runs), timing, memory, cost (what is measured), session (in which order), scan, report, machine.
"""
