"""Evaluation of videos by the published protocols: tracks, depth, cameras, clouds (docs/video_evaluation.md)."""
