"""Voxels of Pix3D, which come as files of MATLAB beside its models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.files import read_bytes
from detkit.voxel_files.mat_files import mat_array

_NAME = "voxel"


def read_pix3d_voxels(path: str | Path) -> Tensor:
    """The centers of the occupied cells of a Pix3D ``.mat`` file, in the frame of the object's model.

    The grid is turned into the model's axes, its occupied part centered by its bounding box, and scaled so that the
    farthest center lies 0.5 from the origin (Mesh R-CNN, ``read_voxel`` of the authors' code).

    Returns:
        ``(P, 3)`` float32; none where no cell is occupied.

    Raises:
        InputError: the file cannot be read, or has no grid of numbers named ``voxel``.
    """
    content = read_bytes(path, "a .mat file")
    grid = mat_array(path, content, _NAME, axes=3)
    if grid is None:
        raise InputError(
            f"{path}: this .mat file has no array of numbers {_NAME!r} with three axes; give one of Pix3D's voxels"
        )
    indices = np.argwhere(np.rot90(grid > 0, k=3, axes=(1, 2))).astype(np.float64)
    if not len(indices):
        return torch.zeros(0, 3)
    centered = indices - (indices.max(axis=0) + indices.min(axis=0)) / 2
    diameter = 2 * float(np.linalg.norm(centered, axis=1).max())
    return torch.from_numpy(centered / (diameter or 1.0)).float()  # a single cell lies at the origin
