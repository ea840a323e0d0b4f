"""Label maps and panoptic maps of images: read from files, and the weights of classes from their pixels."""
