"""What is drawn of a scene: one file per kind of thing."""
