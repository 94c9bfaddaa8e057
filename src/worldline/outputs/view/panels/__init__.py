"""The controls: one file per group of them."""
