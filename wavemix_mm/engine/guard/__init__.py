"""Protection of a run: steps that are not finite, signals to stop."""
