"""Checks in which the network or the loader runs."""
