"""Data sets whose annotations are images: the class, or the class and the instance, of each pixel."""
