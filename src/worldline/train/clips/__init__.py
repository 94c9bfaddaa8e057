"""Training of D4RT: clips, queries drawn from them with exact targets, their loss, and their recipes."""
