"""Random augmentation of training images with their targets."""
