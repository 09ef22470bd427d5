"""Start a run: config, checks before the first step, resuming."""
