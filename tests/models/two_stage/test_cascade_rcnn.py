"""Cascade R-CNN beside what it is made of."""

from functools import partial

import pytest
import torch
from torchvision.ops import boxes as theirs

from detkit.geometry import Placement
from detkit.heads import (
    NMS,
    RPN,
    AveragePool,
    BoxCascade,
    BoxHead,
    Context,
    Regions,
    RegionSampler,
    TwoFullyConnected,
)
from detkit.models import CascadeRCNN, FasterRCNN
from detkit.necks import FPN
from detkit.preprocess import Batch, ShortestEdge
from detkit.structures import Target

HEAD = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16), postprocess=NMS(0.0), class_agnostic=True)


def _make(tiny, kind=CascadeRCNN, **options):
    torch.manual_seed(0)
    parts = {
        "backbone": tiny, "num_classes": 3, "neck": partial(FPN, out_channels=16, extra_levels=None),
        "rpn": partial(RPN, postprocess=NMS(detections=30), postprocess_for_training=NMS(detections=60)),
        "box_head": HEAD, "regions_per_image": 32,
        "preprocess": ShortestEdge(min_size=96, max_size=160),
    }  # fmt: skip
    model = kind(**(parts | options))
    for module in model.box_head.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.1)
    return model


@pytest.fixture
def tiny(make_model):
    return make_model().backbone


def test_losses_of_every_stage_reach_every_parameter(tiny, samples):
    model = _make(tiny).train()
    losses = model(*samples)
    stages = {f"{name}_{stage}" for stage in (1, 2, 3) for name in ("box_cls", "box_reg")}
    assert losses.keys() == {"rpn_cls", "rpn_box"} | stages
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_without_objects_losses_are_finite_and_attached(tiny, samples):
    losses = _make(tiny).train()(samples[0], [Target.empty(), Target.empty()])
    assert all(loss.isfinite() and loss.requires_grad for loss in losses.values())


def test_stages_are_stricter_and_finer():
    model = _make(torch.nn.ModuleList(), kind=_OnlyHeads)
    assert model.box_head.ious == (0.5, 0.6, 0.7)
    assert [head.coder.weights for head in model.box_head.stages] == [
        (10, 10, 5, 5),
        (20, 20, 10, 10),
        (30, 30, 15, 15),
    ]
    assert model.loss_weights == {
        "box_cls_1": 1.0, "box_reg_1": 1.0, "box_cls_2": 0.5, "box_reg_2": 0.5, "box_cls_3": 0.25, "box_reg_3": 0.25
    }  # fmt: skip


class _OnlyHeads(CascadeRCNN):
    def __init__(self, backbone, **options):
        backbone.channels, backbone.strides = [8, 8], [8, 16]
        super().__init__(backbone, **options)


def test_one_stage_is_faster_rcnn(tiny, samples):
    cascade = _make(tiny, stage_ious=(0.5,), stage_weights=(1.0,)).eval()
    faster = _make(tiny, kind=FasterRCNN).eval()
    weights = cascade.state_dict()
    faster.load_state_dict(
        {name.replace("box_head.stages.0.", "box_head."): tensor for name, tensor in weights.items()}
    )
    with torch.no_grad():
        for detections, expected in zip(cascade(samples[0]), faster(samples[0]), strict=True):
            assert len(detections) > 10
            torch.testing.assert_close(detections.boxes, expected.boxes)
            torch.testing.assert_close(detections.scores, expected.scores)
    torch.manual_seed(5)
    losses = cascade(*samples)
    torch.manual_seed(5)
    expected = faster(*samples)
    for name in ("box_cls", "box_reg"):
        torch.testing.assert_close(losses[f"{name}_1"], expected[name])


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_detections_are_those_of_a_chain_written_out(tiny, samples, class_agnostic):
    model = _make(tiny, box_head=partial(HEAD, class_agnostic=class_agnostic)).eval()
    with torch.no_grad():
        batch = model.preprocess(samples[0][:1])
        context = Context(batch)
        features, proposed = model.raw(batch.images)
        boxes = model.rpn.propose(proposed, context).boxes
        scores = []
        for head in model.box_head.stages:
            raw = head(model.crops(features), Regions.of_images([boxes]), {}, context)
            probabilities = raw.logits.softmax(dim=1)[:, :3]
            scores.append(probabilities)
            decoded = head.coder.decode(boxes[:, None], raw.deltas)
            best = probabilities.argmax(dim=1) * (not class_agnostic)
            boxes = theirs.clip_boxes_to_image(decoded[torch.arange(len(boxes)), best], batch.sizes[0])
        mean = torch.stack(scores).mean(dim=0)
        last = theirs.clip_boxes_to_image(decoded.expand(-1, 3, -1), batch.sizes[0])
        kept = theirs.batched_nms(last.flatten(0, 1), mean.flatten(), torch.arange(3).repeat(len(boxes)), 0.5)[:100]
        detections = model(samples[0][:1])[0]
    torch.testing.assert_close(detections.scores, mean.flatten()[kept])
    scale = torch.tensor([samples[0][0].shape[2] / batch.sizes[0][1], samples[0][0].shape[1] / batch.sizes[0][0]])
    torch.testing.assert_close(detections.boxes, last.flatten(0, 1)[kept] * scale.repeat(2), atol=1e-3, rtol=1e-4)


def test_a_region_that_is_an_object_in_one_stage_is_background_in_the_next():
    sampler = RegionSampler(count=8)
    cascade = BoxCascade(1, 1, 2, partial(HEAD, trunk=AveragePool), ious=(0.5, 0.6), region_sampler=sampler)
    for parameter in cascade.parameters():
        torch.nn.init.zeros_(parameter)
    for head in cascade.stages:
        head.classes.bias.data[0] = 20.0  # sure of the first class, and leaves boxes where they are
    target = Target(torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([0]))
    context = Context(Batch(torch.zeros(1, 3, 100, 100), [Placement.identity((100, 100))]), [target])
    regions = sampler(Regions.of_images([torch.tensor([[0.0, 0, 100, 55]])]), context)
    assert regions.labels.tolist() == [0, 0]  # the object itself is among the regions
    losses = cascade.losses(cascade(_ones, regions, {}, context), regions, {}, context)
    assert losses["box_cls_1"] < 1e-6
    torch.testing.assert_close(losses["box_cls_2"], torch.tensor(20 / 3))  # one of three regions is wrong by 20


def _ones(regions):
    return torch.ones(len(regions), 1, 1, 1)
