"""A pass of evaluators over data, of commands."""
