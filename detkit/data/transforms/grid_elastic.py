"""U-Net's elastic deformation as a transform of albumentations, which has none that follows the paper."""

from __future__ import annotations

from typing import Any

import albumentations
import cv2
import numpy as np
from albumentations.augmentations.geometric.distortion import BaseDistortion

from detkit.errors import InputError

_KEYS = -0.5  # of cubic convolution (Keys, 1981), with which it is exact for quadratic functions


class GridElastic(BaseDistortion):
    """Moves pixels by random displacements on a coarse grid, with bicubic interpolation between its points
    (Ronneberger et al., "U-Net", 2015, section 3.1).

    The points of the grid lie at the corners, the edges and inside of the image, equally spaced. Image borders are
    mirrored; maps have no class there.

    Args:
        sigma: standard deviation of the displacements in pixels.
        grid: points of the grid along each side.
        p: probability.

    Raises:
        InputError: sigma is negative, or the grid has less than 2 x 2 points.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):
        sigma: float
        grid: int

    def __init__(self, sigma: float = 10.0, grid: int = 3, p: float = 0.5) -> None:
        if sigma < 0 or grid < 2:
            raise InputError(f"GridElastic needs sigma at least 0 and grid at least 2, got {sigma} and {grid}")
        super().__init__(
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            keypoint_remapping_method="mask",
            border_mode=cv2.BORDER_REFLECT_101,
            fill=0,
            fill_mask=0,
            p=p,
        )
        self.sigma, self.grid = sigma, grid

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The place in the given image of each pixel of the new one."""
        height, width = params["shape"][:2]
        x, y = grid_displacements(self.random_generator.normal(0, self.sigma, (2, self.grid, self.grid)), height, width)
        rows, columns = np.mgrid[:height, :width]
        return {"map_x": (columns + x).astype(np.float32), "map_y": (rows + y).astype(np.float32)}

    def apply_to_mask(self, mask: np.ndarray, map_x: np.ndarray, map_y: np.ndarray, **params: Any) -> np.ndarray:
        """A map moved by nearest neighbor, 0 where it comes from outside."""
        return cv2.remap(mask, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0,) * 4)


def grid_displacements(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Displacements ``(…, H, W)`` float64 of pixels, from those ``(…, G, G)`` of the points of a grid."""
    rows, columns = _weights(points.shape[-2], height), _weights(points.shape[-1], width)
    displacements: np.ndarray = rows @ points @ columns.T
    return displacements


def _weights(count: int, length: int) -> np.ndarray:
    """The cubic weights ``(length, count)`` of the points of a line at each pixel; the outer ones are repeated."""
    places = np.linspace(0, count - 1, length)
    weights = np.zeros((length, count))
    first = np.floor(places).astype(int) - 1
    for point in range(4):
        distance = np.abs(places - (first + point))
        near = (_KEYS + 2) * distance**3 - (_KEYS + 3) * distance**2 + 1
        far = _KEYS * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        values = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        np.add.at(weights, (np.arange(length), np.clip(first + point, 0, count - 1)), values)
    return weights
