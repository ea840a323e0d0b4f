"""darknet's networks and weight files."""
