"""Training, evaluation and prediction; checkpoints; the command line."""
