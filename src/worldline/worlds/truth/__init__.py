"""Exact answers about a world beyond the pixels of its photos."""
