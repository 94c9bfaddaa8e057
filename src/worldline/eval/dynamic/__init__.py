"""Evaluation of videos of moving scenes: test worlds with exact truth, what methods say, one thing varied."""
