"""The heads of Mesh R-CNN for images of one object: voxels and meshes in the frustum of the whole image.

They are parts of `detkit.models.ShapeNetMeshRCNN`, which alone uses them: without its cameras they answer nothing.
"""
