"""RetinaNet and FCOS as detectors: as large as their published weights, on any backbone, and what they return."""

from functools import partial

import pytest
import torch
from torch.utils._pytree import tree_leaves
from torchvision.models.detection import (
    FCOS_ResNet50_FPN_Weights,
    RetinaNet_ResNet50_FPN_V2_Weights,
    RetinaNet_ResNet50_FPN_Weights,
)

from detkit.backbones import Darknet53, TimmBackbone, TorchvisionBackbone
from detkit.heads import NMS, FCOSHead, RetinaNetHead
from detkit.models import FCOS, Raw, RetinaNet
from detkit.necks import FPN, StridedConvolutions
from detkit.preprocess import ShortestEdge
from detkit.structures import Target

LOSSES = {
    RetinaNet: {"retinanet_cls", "retinanet_box"},
    FCOS: {"fcos_cls", "fcos_box", "fcos_centerness"},
}
HEADS = {RetinaNet: RetinaNetHead, FCOS: FCOSHead}
TRACED = [RetinaNet, pytest.param(FCOS, marks=pytest.mark.slow)]


def _resnet50():
    return TorchvisionBackbone("resnet50", stages=[3, 4, 5])


PUBLISHED = {
    # Their batch norm is frozen: it has no parameters.
    RetinaNet_ResNet50_FPN_Weights: lambda head: RetinaNet(
        _resnet50(), 90, partial(FPN, extra_levels=StridedConvolutions), head
    ),
    FCOS_ResNet50_FPN_Weights: lambda head: FCOS(_resnet50(), 90, head=head),
    RetinaNet_ResNet50_FPN_V2_Weights: lambda head: RetinaNet(_resnet50(), 90, head=partial(head, group_norm=True)),
}


@pytest.mark.parametrize("weights", PUBLISHED, ids=lambda weights: weights.__name__)
def test_has_as_many_parameters_as_the_published_weights(weights):
    head = FCOSHead if weights is FCOS_ResNet50_FPN_Weights else RetinaNetHead
    with torch.device("meta"):
        model = PUBLISHED[weights](partial(head, background_logit=True))
    batch_norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    trained = sum(parameter.numel() for parameter in model.parameters())
    if weights is RetinaNet_ResNet50_FPN_V2_Weights:
        trained -= 8 * 256  # its towers have no biases before their normalization
    else:
        trained -= sum(parameter.numel() for module in batch_norms for parameter in module.parameters())
    assert trained == weights.COCO_V1.meta["num_params"]


BACKBONES = {
    "MobileNet": lambda: TorchvisionBackbone("mobilenet_v3_small", stages=[3, 4, 5]),
    "timm": lambda: TimmBackbone("test_resnet"),
    "Darknet": lambda: Darknet53(0.05, [1] * 5),
}


def _small(kind, backbone="Darknet", **options):
    torch.manual_seed(0)
    extra = partial(StridedConvolutions, from_backbone=kind is RetinaNet)
    neck = partial(FPN, out_channels=16, extra_levels=extra)
    head = partial(HEADS[kind], **({"convolutions": 1} | options))
    return kind(BACKBONES[backbone](), 3, neck, head, ShortestEdge(64, 96))


def _images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 60, 90, generator=generator), torch.rand(3, 50, 40, generator=generator)]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", HEADS)
def test_learns_and_detects_on_any_backbone(kind, backbone):
    model, images = _small(kind, backbone, postprocess=NMS(score_threshold=0.0)), _images()
    targets = [Target(torch.tensor([[5.0, 6, 40, 50], [50, 20, 88, 60]]), torch.tensor([0, 2])), Target.empty()]
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert losses.keys() == LOSSES[kind]
    assert all(parameter.grad.isfinite().all() for parameter in model.head.parameters())
    for image, detections in zip(images, model.eval()(images), strict=True):
        assert len(detections)
        assert (detections.boxes >= 0).all()
        assert (detections.boxes <= torch.tensor([image.shape[2], image.shape[1]] * 2)).all()
        assert (detections.boxes[:, 2:] >= detections.boxes[:, :2]).all()


@pytest.mark.parametrize("kind", HEADS)
def test_weights_of_losses_are_by_name(kind):
    images, targets = _images()[:1], [Target(torch.tensor([[5.0, 6, 40, 50]]), torch.tensor([1]))]
    model = _small(kind).eval()
    plain = model(images, targets)
    model.loss_weights = {name: 3.0 for name in LOSSES[kind]}
    for name, loss in model(images, targets).items():
        torch.testing.assert_close(loss, 3 * plain[name])


@pytest.mark.parametrize("kind", TRACED)
def test_compiles_as_one_graph_in_bfloat16_too(kind):
    model, images = _small(kind).eval(), torch.rand(2, 3, 64, 96)
    compiled = torch.compile(model.raw, fullgraph=True, backend="eager")
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            raw, expected = compiled(images), model.raw(images)
        assert raw.classes[0].dtype == dtype
        _equal(raw, expected)


@pytest.mark.parametrize("kind", TRACED)
def test_is_exported_for_images_of_any_number_and_size(kind):
    """From two cells on at the coarsest stride, 128; tests/exporting/test_exported_graph.py runs ONNX Runtime."""
    model = _small(kind).eval()
    sides = {side: 32 * torch.export.Dim(f"cells{side}", min=5, max=60) for side in (2, 3)}
    sizes = {0: torch.export.Dim("batch", min=1)} | sides
    graph = torch.export.export(Raw(model), (torch.rand(2, 3, 192, 224),), dynamic_shapes=(sizes,))
    for batch in (torch.rand(1, 3, 160, 320), torch.rand(3, 3, 256, 160)):
        with torch.no_grad():
            _equal(graph.module()(batch), model.raw(batch))


def _equal(ours, theirs):
    for mine, other in zip(tree_leaves(ours), tree_leaves(theirs), strict=True):
        torch.testing.assert_close(mine, other)
