"""The package of the paper's authors: conversion, variants, its networks for comparison."""

from wavemix_mm.official.convert import convert_official, is_wavelet_buffer

__all__ = ["convert_official", "is_wavelet_buffer"]
