"""Meshes and voxels of objects compared with true meshes: of detections, and of images of one object."""
