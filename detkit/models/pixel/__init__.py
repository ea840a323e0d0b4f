"""Models that give a class to each pixel."""
