"""Several processes: start, agreement, torchrun's restarts, strategies."""
