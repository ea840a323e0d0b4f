"""Configs: parsing of command lines and YAML files, checks, and building of objects."""
