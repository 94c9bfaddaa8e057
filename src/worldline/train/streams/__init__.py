"""Training of stream models: drives of a camera rig, sequences drawn from them, their loss, and their recipes."""
