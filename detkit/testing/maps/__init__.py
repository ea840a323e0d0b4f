"""The part of the checks that is about label maps."""
