"""Reading of samples: an image with its target, checked for every data set."""
