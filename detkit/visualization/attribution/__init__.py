"""What in an image a network's output depends on."""
