"""Train networks under one budget and compare accuracy and cost; for the tools beside it."""
