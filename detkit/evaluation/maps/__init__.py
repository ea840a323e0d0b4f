"""What evaluators of maps share: the images and classes of the data, and what is kept of each image."""
