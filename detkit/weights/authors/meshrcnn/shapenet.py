"""The networks for ShapeNet that the authors of Mesh R-CNN published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.heads import ImageMeshHead, ImageVoxelHead
from detkit.models import ShapeNetMeshRCNN
from detkit.weights.authors.meshrcnn.turned_weights import turned_refinement
from detkit.weights.state_dict import Renames, check_has, load_all

SPHERES = {"sphereinit": 4, "pixel2mesh": 2}
"""Subdivisions of the spheres that the baselines begin with."""

_PREDICTOR, _BOTTLENECK = "voxel_head.predictor.weight", "mesh_head.stages.0.bottleneck.weight"
_CAMERA = "K"  # Blender's projection, a constant


def shapenet_model(kind: str, tensors: Mapping[str, Tensor], source: str) -> ShapeNetMeshRCNN:
    """The network of a state dict with the authors' names.

    Args:
        kind: ``voxmesh``, ``sphereinit`` or ``pixel2mesh``.
        tensors: the state dict.
        source: of it, for messages.

    Raises:
        InputError: it lacks a tensor, or has one of another shape.
    """
    needed = [_BOTTLENECK] if kind in SPHERES else [_BOTTLENECK, _PREDICTOR]
    check_has(tensors, needed, f"no network of {source}")
    mesh_head = partial(
        ImageMeshHead,
        channels=len(tensors[_BOTTLENECK]),
        stages=_numbered(tensors, r"mesh_head\.stages\.(\d+)\."),
        convolutions=_numbered(tensors, r"mesh_head\.stages\.0\.gconvs\.(\d+)\."),
        subdivide=kind == "pixel2mesh",
    )
    voxel_head = None
    if kind not in SPHERES:
        depth, channels = tensors[_PREDICTOR].shape[:2]
        convolutions = _numbered(tensors, r"voxel_head\.voxel_fcn(\d+)\.") - 1
        voxel_head = partial(ImageVoxelHead, voxels=depth, channels=channels, convolutions=convolutions)
    model = ShapeNetMeshRCNN(TorchvisionBackbone("resnet50"), voxel_head, mesh_head, SPHERES.get(kind))
    own = {name: tensor for name, tensor in tensors.items() if name != _CAMERA}
    load_all(model, turned_refinement(own, "mesh_head."), source, _name_in_source)
    return model


# From detkit's names.
_RENAMES: Renames = [
    (r"^backbone\.trunk\.conv1\.", "backbone.stem.0."),
    (r"^backbone\.trunk\.bn1\.", "backbone.stem.1."),
    (r"^backbone\.trunk\.layer(\d)\.", r"backbone.stage\1."),
    (r"^voxel_head\.convolutions\.(\d+)\.", lambda match: f"voxel_head.voxel_fcn{int(match[1]) + 1}."),
    (r"^voxel_head\.deconvolution\.", "voxel_head.deconv."),
    (r"^voxel_head\.logits\.", "voxel_head.predictor."),
    (r"^mesh_head\.refinement\.stages\.", "mesh_head.stages."),
    (r"^(mesh_head\.stages\.\d+)\.convolutions\.", r"\1.gconvs."),
    (r"^(mesh_head\.stages\.\d+)\.offset\.", r"\1.vert_offset."),
]


def _name_in_source(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _numbered(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the greatest number in names that match."""
    found = [match for match in (re.match(pattern, name) for name in tensors) if match]
    return 1 + max((int(match[1]) for match in found), default=0)
