"""Bricks without model names: attention, transformer blocks, patch embedding, heads."""
