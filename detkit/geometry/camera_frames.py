"""Cameras of images that are placed in another frame, and the turn of the space that they see.

A placement with the linear part ``A`` splits into ``A = T Q``, where ``T`` is upper triangular with a positive diagonal
and ``Q`` a rotation or a reflection (the RQ decomposition by which camera matrices are read off, Hartley and Zisserman,
*Multiple View Geometry*, section 6.2.4). The camera frame turns about the optical axis by ``Q``, and the camera becomes
``A K Q^T``. So its focal lengths stay positive, and moved points are seen where the placement moves their pixels. A
resize or a crop has ``Q = 1``; a flip mirrors the camera frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry.arrays import Array
from detkit.geometry.rectangles import Matrix, Size


def central_camera(size: Size, focal_length: float) -> Tensor:
    """The intrinsic matrix ``(3, 3)`` of an image whose principal point is its center.

    Args:
        size: height and width of the image.
        focal_length: in pixels of it.

    Raises:
        InputError: the focal length is no positive number.
    """
    if not 0 < focal_length < np.inf:
        raise InputError(f"the focal length is {focal_length:g}; give it in pixels, more than 0")
    height, width = size
    return torch.tensor([[focal_length, 0, width / 2], [0, focal_length, height / 2], [0, 0, 1]])


def camera_turn(matrix: Matrix) -> np.ndarray:
    """``Q`` of a placement by `matrix`: ``(2, 2)`` float64, orthogonal, for x and y of the camera frame.

    It is exact where the placement is axis-aligned.
    """
    (a, b, _), (d, e, _) = matrix
    length = float(np.hypot(d, e))
    x, y = d / length, e / length
    sign = 1.0 if a * e - b * d > 0 else -1.0
    return np.array(((sign * y, -sign * x), (x, y))) + 0.0  # no negative zeros


def camera_factors(matrices: Sequence[Matrix]) -> tuple[np.ndarray, np.ndarray]:
    """What cameras are multiplied with from the left and from the right, each ``(B, 3, 3)`` float64."""
    left, right = np.zeros((2, len(matrices), 3, 3))
    for number, matrix in enumerate(matrices):
        left[number] = *matrix, (0.0, 0.0, 1.0)
        right[number, :2, :2] = camera_turn(matrix).T
    right[:, 2, 2] = 1
    return left, right


def moved_cameras(cameras: Array, matrices: Sequence[Matrix]) -> Array:
    """`cameras` ``(B, 3, 3)`` of several images, each for the frame that its matrix leads to."""
    left, right = camera_factors(matrices)
    if isinstance(cameras, Tensor):
        first, second = torch.from_numpy(np.stack((left, right))).to(cameras.dtype).to(cameras.device).unbind()
        return _product(_product(first, cameras), second)
    moved: np.ndarray = _product(_product(left, cameras), right).astype(cameras.dtype)
    return moved


def are_cameras(cameras: np.ndarray) -> np.ndarray:
    """Which of `cameras` ``(B, 3, 3)`` are intrinsic matrices: finite, with focal lengths above 0, and the last row
    0 0 1; bool ``(B,)``."""
    is_finite: np.ndarray = np.isfinite(cameras).all(axis=(1, 2))
    focal_lengths = cameras[:, (0, 1), (0, 1)]
    are_valid: np.ndarray = is_finite & (focal_lengths > 0).all(axis=1) & (cameras[:, 2] == (0, 0, 1)).all(axis=1)
    return are_valid


def _product(first: Array, second: Array) -> Array:
    """The matrix products; written out, since a GPU may round the factors of matrix products to 10 bits."""
    terms = [first[..., index, None] * second[..., index, None, :] for index in range(3)]
    product: Array = terms[0] + terms[1] + terms[2]
    return product
