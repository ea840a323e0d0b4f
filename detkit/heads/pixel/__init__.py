"""Heads that give a class to each pixel."""
