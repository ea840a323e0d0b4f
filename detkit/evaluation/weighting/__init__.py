"""Evaluations in which each image counts as often as a weight says, as resampling needs them."""
