"""The cameras of the renderings of 3D-R2N2 (Choy et al., ECCV 2016), as Mesh R-CNN reads them (2019, section 4.1)."""

from __future__ import annotations

import numpy as np

from detkit.errors import InputError
from detkit.files.text_documents import numbers_in, read_lines

_FOCAL = 35 / 32
"""Of Blender's camera: millimeters of its lens over those of its sensor, and so image widths."""

_LARGEST_DISTANCE = 1.75
"""Of the camera from the origin; the renderings state a share of it."""

_COLUMNS = "azimuth, elevation, in-plane rotation, distance, field of view"


def shapenet_camera(size: tuple[int, int]) -> np.ndarray:
    """The intrinsic matrix ``(3, 3)`` float32 of renderings of a size ``(height, width)``, in pixels."""
    height, width = size
    return np.array([[_FOCAL * width, 0, width / 2], [0, _FOCAL * height, height / 2], [0, 0, 1]], dtype=np.float32)


def read_views(path: str) -> np.ndarray:
    """The poses ``(V, 3, 4)`` float64 of a ``rendering_metadata.txt``, from the coordinates of the model to the camera.

    Each line has the degrees of azimuth, elevation and in-plane rotation, the distance as a share of 1.75, and the
    field of view, which is not read: all renderings have the same.

    Raises:
        InputError: the file cannot be read, or a line is wrong; the message names it.
    """
    poses = []
    for number, line in read_lines(path):
        values = numbers_in(line)
        if values is None or len(values) != 5 or not np.isfinite(values).all():
            raise InputError(f"{path}, line {number}: {line[:60]!r} are not the five numbers of a view: {_COLUMNS}")
        azimuth, elevation, turn, share, _ = values
        if turn != 0 or share <= 0:
            raise InputError(
                f"{path}, line {number}: a view has no in-plane rotation and a distance above 0, this one has {turn:g} "
                f"and {share:g}; correct it, or leave out its images"
            )
        poses.append(view_pose(azimuth, elevation, _LARGEST_DISTANCE * share))
    return np.array(poses).reshape(-1, 3, 4)


def view_pose(azimuth: float, elevation: float, distance: float) -> np.ndarray:
    """The pose ``(3, 4)`` of a camera that looks at the origin from `distance`, with y of the model upward.

    Args:
        azimuth: degrees from the model's x axis to its z axis.
        elevation: degrees above these two.
        distance: from the origin.
    """
    (sa, se), (ca, ce) = np.sin(np.radians((azimuth, elevation))), np.cos(np.radians((azimuth, elevation)))
    right, down = (sa, 0, -ca), (ca * se, -ce, sa * se)
    forward = (-ca * ce, -se, -sa * ce)
    return np.column_stack([(right, down, forward), (0, 0, distance)])
