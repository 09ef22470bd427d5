"""Predict on images of any kind; `wavemix_mm.apis.predict` is the public function."""
