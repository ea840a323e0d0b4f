"""The branches of Mesh R-CNN: depth, voxels and meshes of each region, in the frustum of its box.

The box-frustum frame spans [-1, 1] along each axis: x to the right and y down across the box in the image, z from the
near to the far end of the object, linearly in its inverse; see `detkit.ops.meshes.to_box_frustum`.
"""
