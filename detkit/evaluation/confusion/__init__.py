"""Confusion matrices of image classes and of detections."""
