"""What lies where in the folder of a data set, and what it holds."""
