"""Lightning callbacks and loggers of a training: checkpoints, moving averages, logs, changing resolutions."""
