"""Training: losses, recipes, data pools and the loop."""
