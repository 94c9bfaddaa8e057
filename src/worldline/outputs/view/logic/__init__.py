"""What the viewer computes, without a server and without a browser: plain numpy."""
