"""What is drawn of one object."""
