"""Official files of video benchmarks, with the frames that published tables take (docs/video_evaluation.md)."""
