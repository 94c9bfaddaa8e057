"""What `benchmarks/cuda.py` measures, one file per kind of thing."""
