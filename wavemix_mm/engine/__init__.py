"""What runs around the models: hooks, optimizer wrappers, checkpoints."""
