"""Predictions on images of any kind; `wavemix_mm.apis` is the front."""
