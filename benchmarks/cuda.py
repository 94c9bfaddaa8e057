"""Everything that docs/benchmarks.md wants to know of a CUDA device, in a few minutes.

    python benchmarks/cuda.py --minutes 6 -o OUT

Sections in order of importance: device, mvdust3r, d4rt, driv3r, accuracy, gaussians, worlds, compiled. Each row is
written to OUT/cuda.json as soon as it is measured; a row that fails is written with its reason and the next one
follows. Calling again with the same OUT measures what is still missing: rows for which there was no time, never those
that are there. ``--again NAME`` measures a section anew. After every row, OUT/cuda.md holds the tables.

Published sizes have random weights and random images: their times do not depend on what they say. Without a device:

    python benchmarks/cuda.py --device cpu --tiny -o OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # run as a file, this folder would be searched first, and this file be taken for NVIDIA's package `cuda`
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.device.run import main

    sys.exit(main(sys.argv[1:]))
