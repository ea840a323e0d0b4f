"""The YOLOv1 to v4 heads."""
