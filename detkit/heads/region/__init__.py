"""Heads that predict for each region: the branches of two-stage detectors."""
