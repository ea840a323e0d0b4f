"""The oracle round trip: ground truth through everything but the network."""
