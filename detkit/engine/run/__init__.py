"""A run's folder while it is trained in: its lock, the start of its files, and going on with a stopped run."""
