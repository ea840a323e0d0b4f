"""What evaluators whose truth comes with the targets share: the images and classes, and what is kept of each image."""
