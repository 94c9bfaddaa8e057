"""What several kinds of output need to know of a scene: whence it is seen, which way is up, its moments, its terms."""
