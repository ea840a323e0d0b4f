"""Heads that predict for the image as a whole."""
