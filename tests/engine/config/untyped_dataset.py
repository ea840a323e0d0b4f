"""A data set whose constructor a config cannot check."""

from detkit.data import ImageDataset


class Untyped(ImageDataset):
    """Its arguments have no types."""

    def __init__(self, split, root):
        self.root = root
