"""How meshes are scaled before they are compared, and the distances at which points count as hit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SAMPLES = 10_000
"""Points drawn from each mesh in both protocols."""


@dataclass(frozen=True)
class MeshProtocol:
    """How two meshes are scaled, and which distances are then near.

    Args:
        longest_edge: both are scaled alike, so that the longest edge of the true mesh's bounding box has this length;
            None: both are multiplied by `factor`.
        factor: what vertices are multiplied by where there is no `longest_edge`.
        thresholds: the distances below which a point is hit.
    """

    longest_edge: float | None
    factor: float
    thresholds: tuple[float, ...]


ProtocolName = Literal["meshrcnn", "pixel2mesh"]

MESH_RCNN = MeshProtocol(longest_edge=10.0, factor=1.0, thresholds=(0.1, 0.2, 0.3, 0.4, 0.5))
"""Gkioxari et al., "Mesh R-CNN", ICCV 2019, section 5: scale-normalized."""

PIXEL2MESH = MeshProtocol(longest_edge=None, factor=0.57, thresholds=(1e-4**0.5, 2e-4**0.5))
"""Wang et al., "Pixel2Mesh", ECCV 2018, section 4.1: squared distances of 1e-4 and 2e-4, meshes of ShapeNet times 0.57,
which undoes the scale of its renderings."""

PROTOCOLS: dict[ProtocolName, MeshProtocol] = {"meshrcnn": MESH_RCNN, "pixel2mesh": PIXEL2MESH}
