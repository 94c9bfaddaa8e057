"""What can be asked of a video whose points answer one by one (D4RT): depth, cameras, tracks, clouds."""
