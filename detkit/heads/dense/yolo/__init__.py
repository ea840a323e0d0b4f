"""The heads of YOLOv1 to v4."""
