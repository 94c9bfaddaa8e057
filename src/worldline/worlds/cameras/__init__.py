"""Where the photos are taken from: photo sets, videos, rigs."""
