"""What is done beside the steps of a training: checkpoints, averages, logs, changing resolutions."""
