"""One image with its target, as it was read."""
