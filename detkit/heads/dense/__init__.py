"""Heads that predict at every location of the feature maps."""
