"""From the command line and YAML files to a checked config."""
