"""What a dataset holds; what a model costs and sees."""
