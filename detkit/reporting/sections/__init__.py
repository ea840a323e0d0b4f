"""The sections of detections, of image classes, and of the run."""
