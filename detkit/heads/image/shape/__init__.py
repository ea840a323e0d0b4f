"""The heads of Mesh R-CNN for images of one object: voxels and meshes in the frustum of the whole image."""
