"""Models that give each pixel a class and an instance."""
