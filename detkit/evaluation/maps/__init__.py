"""What evaluators of maps share: how they compare those of an image."""
