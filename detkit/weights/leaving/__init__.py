"""Exporting models to other libraries: which settings change results, and their names there."""
