"""Weights that the authors of a paper published, in other formats than those of the libraries."""
