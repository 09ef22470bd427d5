"""Analyze models: receptive fields, occlusion maps, sub-bands, corrupted images."""
