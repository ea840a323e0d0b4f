"""`from_meshrcnn`: the weights that the authors of Mesh R-CNN published, for Pix3D and for ShapeNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from detkit.errors import InputError
from detkit.files.torch_files import read_torch
from detkit.models import MeshRCNN, ShapeNetMeshRCNN
from detkit.structures import WeightsSource
from detkit.weights.authors.meshrcnn.pix3d import pix3d_model
from detkit.weights.authors.meshrcnn.shapenet import shapenet_model
from detkit.weights.state_dict import checked_tensors

PIX3D_NAMES = [f"{kind}{split}_R50" for kind in ("meshrcnn", "pixel2mesh", "sphereinit") for split in ("", "_S2")]
"""The files for Pix3D, whose second split has other objects in training than in testing."""
SHAPENET_NAMES = [f"{kind}_R50" for kind in ("voxmesh", "pixel2mesh", "sphereinit")]
"""The files for ShapeNet."""

_LICENSE = "not stated by the authors beside their files; unknown for a file of another origin"


def from_meshrcnn(weights: str | Path | Mapping[str, Any], name: str | None = None) -> MeshRCNN | ShapeNetMeshRCNN:
    """A detkit model with the same outputs as the network of Mesh R-CNN's authors with the same weights.

    It takes RGB images in [0, 1], as all of detkit's models do, and answers in the camera frame with x right, y down
    and z away from the camera: the networks for ShapeNet saw y up and z towards it, which their weights are turned for.
    Resizing, anchors, crops and thresholds are the authors'.

    Args:
        weights: the path of a published ``.pth``; or its content, or a state dict alone, with the authors' names.
        name: one of `PIX3D_NAMES` or `SHAPENET_NAMES`, such as ``meshrcnn_R50`` or ``voxmesh_R50``; what the names of
            both have in common is told apart by the tensors. None: the name of the file.

    Returns:
        A `MeshRCNN` of weights for Pix3D, a `ShapeNetMeshRCNN` of those for ShapeNet.

    Raises:
        InputError: the file cannot be read, the name is unknown or missing, or tensors are missing, unknown or of
            another shape.
    """
    if isinstance(weights, (str, Path)):
        name = Path(weights).stem if name is None else name
        weights = read_torch(weights, "weights file", "save its state dict alone")
    names = sorted({*PIX3D_NAMES, *SHAPENET_NAMES})
    if name is None or (own := name.rpartition("/")[2].removesuffix(".pth")) not in names:
        called = "without a name" if name is None else repr(name)
        raise InputError(f"cannot import Mesh R-CNN's weights {called}: give one of the names {', '.join(names)}")
    source = f"Mesh R-CNN's {own}"
    tensors = _state_dict(weights, source)
    is_shapenet = "backbone.stem.0.weight" in tensors
    if own not in (SHAPENET_NAMES if is_shapenet else PIX3D_NAMES):
        has, other = ("ShapeNet", "Pix3D") if is_shapenet else ("Pix3D", "ShapeNet")
        raise InputError(f"{own} is a network for {other}, but the state dict has the names of those for {has}")
    make = shapenet_model if is_shapenet else pix3d_model
    model: MeshRCNN | ShapeNetMeshRCNN = make(own.partition("_")[0], tensors, source)
    model.provenance = [WeightsSource(f"Mesh R-CNN {own}", "a state dict", _LICENSE)]
    return model


def _state_dict(content: Any, source: str) -> dict[str, Tensor]:
    """The tensors in the content of a file, or of a training on several GPUs, whose names begin with ``module.``."""
    for key in ("best_states", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = checked_tensors(content, source)
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
