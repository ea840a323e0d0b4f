"""Weights of one model in another, whose classes may be others."""
