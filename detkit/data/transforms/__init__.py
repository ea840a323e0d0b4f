"""Random variation of training images with their targets."""
