"""The numbers of a config."""
