"""Materials and the patterns on them."""
