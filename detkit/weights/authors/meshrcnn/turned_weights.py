"""The authors' layers of mesh refinement as ours: the order of their inputs, and the frame of the vertices."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_WEIGHT = re.compile(r"stages\.\d+\.gconvs\.\d+\.w[01]\.weight$")
_OFFSET = re.compile(r"stages\.\d+\.vert_offset\.(weight|bias)$")
_Y_OF_COLUMNS = -2  # columns end with x, y and z


def turned_refinement(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of the ShapeNet networks' mesh head, for our order of inputs and our frame.

    A stage there joins features of the image, coordinates, and features of the stage before; here the latter come
    first. Coordinates in the image have y up there, so that the columns of y change their signs; x and z are the same,
    see `CameraViews.positions`. Offsets in the camera frame have y up and z towards the camera there, so that both
    change their signs.

    Args:
        tensors: with the authors' names.
        prefix: of those of the mesh head.
    """
    turned = dict(tensors)
    for name, tensor in tensors.items():
        own = name.removeprefix(prefix)
        if _WEIGHT.match(own) and tensor.ndim == 2:
            turned[name] = _with_y_down(_coordinates_last(tensor))
        elif _OFFSET.match(own) and tensor.ndim and len(tensor) == 3:
            offset = tensor.clone()
            offset[1:] *= -1
            turned[name] = _with_y_down(offset) if offset.ndim == 2 else offset
    return turned


def _coordinates_last(weight: Tensor) -> Tensor:
    """The columns of a graph convolution's weight with those of the stage before first."""
    of_image = len(weight) + 3
    return torch.cat((weight[:, of_image:], weight[:, :of_image]), dim=1)


def _with_y_down(weight: Tensor) -> Tensor:
    turned = weight.clone()
    turned[:, _Y_OF_COLUMNS] *= -1
    return turned
