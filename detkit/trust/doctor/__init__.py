"""Checks of a recipe on its data before training."""
