"""The networks: raw tensors in, pointmaps out. No files, no registry, no post-processing."""
