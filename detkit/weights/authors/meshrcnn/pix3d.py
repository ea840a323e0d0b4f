"""The networks for Pix3D that the authors of Mesh R-CNN published: detectron2's Mask R-CNN with further branches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.heads import NMS, RPN, MeshHead, VoxelHead
from detkit.models import MeshRCNN, RegionAlign
from detkit.models.two_stage.mesh_rcnn import LEAST_BACKGROUND_IOU
from detkit.structures import Category
from detkit.weights.authors.meshrcnn.shapenet import SPHERES
from detkit.weights.detectron2_weights import from_detectron2
from detkit.weights.state_dict import Renames, check_has, load_all

_BRANCHES = ("roi_heads.z_head.", "roi_heads.voxel_head.", "roi_heads.mesh_head.")
_BOX, _MASK = "roi_heads.box_predictor.cls_score.bias", "roi_heads.mask_head.predictor.weight"
_CLASSES = ("bed", "bookcase", "chair", "desk", "misc", "sofa", "table", "tool", "wardrobe")


def pix3d_model(kind: str, tensors: Mapping[str, Tensor], source: str) -> MeshRCNN:
    """The network of a state dict with the authors' names.

    Args:
        kind: ``meshrcnn``, ``sphereinit`` or ``pixel2mesh``.
        tensors: the state dict.
        source: of it, for messages.

    Raises:
        InputError: it lacks a tensor, or has one of another shape.
    """
    check_has(tensors, (_BOX, _MASK), f"no network of {source}")
    branches = {name: tensor for name, tensor in tensors.items() if name.startswith(_BRANCHES)}
    detector = from_detectron2(
        "mask_rcnn_R_50_FPN_3x", {name: one for name, one in tensors.items() if name not in branches}
    )
    model = MeshRCNN(
        TorchvisionBackbone("resnet50", frozen_stages=2, frozen_batch_norm=True, stride_in_1x1=True),
        len(tensors[_BOX]) - 1,
        voxel_head=None if kind in SPHERES else VoxelHead,
        mesh_head=partial(MeshHead, sphere_level=SPHERES.get(kind), subdivide=kind == "pixel2mesh"),
        rpn=partial(
            RPN,
            anchor_sizes=[[32], [64], [128], [256], [512]],
            background_iou=0.5,
            least_background_iou=LEAST_BACKGROUND_IOU,
            exact_anchors=True,
            postprocess_for_training=NMS(detections=1000),
        ),
        region_pool=RegionAlign(sampling_ratio=2, aligned=False),
        preprocess=detector.preprocess,
    )
    own = model.state_dict().keys() - detector.state_dict().keys()
    renamed = {name: tensor for name, tensor in detector.state_dict().items()} | branches
    load_all(model, renamed, source, lambda name: _name_in_source(name) if name in own else name)
    is_pix3d = model.num_classes == len(_CLASSES)
    model.categories = [Category(number + 1, name) for number, name in enumerate(_CLASSES)] if is_pix3d else None
    return model


# From detkit's names of the branches.
_RENAMES: Renames = [
    (r"^branches\.depth\.layers\.fc(\d)\.", lambda match: f"roi_heads.z_head.z_fc{int(match[1]) - 5}."),
    (r"^branches\.depth\.log_extents\.", "roi_heads.z_head.z_pred."),
    (r"^branches\.voxel\.convolutions\.(\d)\.", lambda match: f"roi_heads.voxel_head.voxel_fcn{int(match[1]) + 1}."),
    (r"^branches\.voxel\.deconvolution\.", "roi_heads.voxel_head.deconv."),
    (r"^branches\.voxel\.logits\.", "roi_heads.voxel_head.predictor."),
    (r"^branches\.mesh\.refinement\.stages\.(\d)\.convolutions\.", r"roi_heads.mesh_head.stages.\1.gconvs."),
    (r"^branches\.mesh\.refinement\.stages\.(\d)\.offset\.", r"roi_heads.mesh_head.stages.\1.verts_offset."),
    (r"^branches\.mesh\.refinement\.stages\.", "roi_heads.mesh_head.stages."),
]


def _name_in_source(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
