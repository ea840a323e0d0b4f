"""Readers of fields of targets in COCO files: their base class, and those of shapes in space."""
