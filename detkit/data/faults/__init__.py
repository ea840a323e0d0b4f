"""Faults of annotations that are read without an error, recognized from statistics."""
