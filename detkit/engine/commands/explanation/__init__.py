"""What ``detkit visualize`` does: explanations of a network, drawn."""
