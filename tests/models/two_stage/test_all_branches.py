"""One model with a box, a mask and a keypoint branch, learning from images that lack one kind of annotation."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import detkit.matching
from detkit.errors import InputError
from detkit.heads import KeypointHead, MaskHead, RegionBranch
from detkit.ops import masks_to_rle
from detkit.structures import Target

JOINTS = 4
BRANCHES = {
    "mask": partial(MaskHead, channels=8, convolutions=1),
    "keypoint": partial(KeypointHead, num_keypoints=JOINTS, channels=8, convolutions=1),
}
ALL = {"rpn_cls", "rpn_box", "box_cls", "box_reg", "mask", "keypoint"}


@pytest.fixture
def model(make_model):
    return make_model(branches=BRANCHES).train()


@pytest.fixture
def annotated(samples):
    """The two images, with a mask and keypoints for every object."""
    images, targets = samples
    full = []
    for image, target in zip(images, targets, strict=True):
        masks = torch.zeros(len(target), *image.shape[1:], dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, target.boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = True
        corners = target.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].unflatten(1, (JOINTS, 2)) * 0.98
        keypoints = torch.cat((corners, torch.full((len(target), JOINTS, 1), 2.0)), dim=2)
        full.append(replace(target, masks=masks, keypoints=keypoints))
    return images, full


def _losses(model, images, targets):
    torch.manual_seed(0)
    return model(images, targets)


def test_all_losses_at_once_reach_every_parameter(model, annotated):
    losses = _losses(model, *annotated)
    assert losses.keys() == ALL
    assert all(loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(("lacking", "loss"), [("masks", "mask"), ("keypoints", "keypoint")])
def test_an_image_that_lacks_an_annotation_does_not_contribute_to_its_loss(model, annotated, lacking, loss):
    images, targets = annotated
    complete = _losses(model, images, targets)
    partly = _losses(model, images, [targets[0], replace(targets[1], **{lacking: None})])
    assert partly.keys() == ALL
    for name in ALL - {loss}:
        torch.testing.assert_close(partly[name], complete[name])
    assert partly[loss] > 0
    assert partly[loss] != complete[loss]
    without = _losses(model, images, [replace(target, **{lacking: None}) for target in targets])
    assert without[loss] == 0
    assert without[loss].requires_grad


def test_no_annotation_of_a_kind_at_all_still_reaches_its_branch(model, annotated):
    images, targets = annotated
    losses = _losses(model, images, [replace(target, masks=None, keypoints=None) for target in targets])
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() == 0 for parameter in model.branches.parameters())


def test_run_lengths_teach_the_same_as_pixels(model, annotated):
    images, targets = annotated
    packed = [replace(target, masks=masks_to_rle(target.masks)) for target in targets]
    assert _losses(model, images, targets)["mask"] == _losses(model, images, packed)["mask"]


def test_detections_have_masks_and_keypoints(make_model, annotated):
    model = make_model(branches=BRANCHES, score_threshold=0.0).eval()
    with torch.no_grad():
        for image, detections in zip(annotated[0], model(annotated[0]), strict=True):
            assert len(detections) > 0
            assert detections.masks.shape == (len(detections), *image.shape[1:])
            assert detections.keypoints.shape == (len(detections), JOINTS, 3)


def test_an_image_in_which_nothing_is_found_has_no_masks_and_no_keypoints(make_model, annotated):
    model = make_model(branches=BRANCHES, score_threshold=2.0).eval()
    with torch.no_grad():
        for image, detections in zip(annotated[0], model(annotated[0]), strict=True):
            assert detections.masks.shape == (0, *image.shape[1:])
            assert detections.keypoints.shape == (0, JOINTS, 3)
        model.rpn.postprocess.score_threshold = 2.0  # and without any proposal
        for detections in model(annotated[0]):
            assert len(detections) == len(detections.masks) == len(detections.keypoints) == 0


def test_without_any_proposal_or_positive_region_the_losses_are_finite(model, annotated):
    images, targets = annotated
    model.rpn.postprocess_for_training.score_threshold = 2.0
    nothing = [target[torch.zeros(len(target), dtype=torch.bool)] for target in targets]
    losses = _losses(model, images, nothing)
    assert losses.keys() == ALL
    assert all(loss.isfinite() for loss in losses.values())
    assert all(losses[name] == 0 for name in ALL - {"rpn_cls"})
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_what_does_not_fit_the_image_or_the_model_is_named(model, annotated):
    images, targets = annotated
    wrong = replace(targets[1], masks=targets[1].masks[:, 1:], image_id=7)
    with pytest.raises(InputError, match=r"targets\[1\], image id 7: its masks have .* but the image has"):
        model(images, [targets[0], wrong])
    wrong = replace(targets[1], keypoints=targets[1].keypoints[:, 1:], image_id=7)
    with pytest.raises(InputError, match=r"image id 7: its objects have 3 keypoints, but the model has 4"):
        model(images, [targets[0], wrong])


def test_what_it_learns_from_is_known(model):
    assert model.learns_from == {"masks", "keypoints"}


def test_an_image_whose_boxes_are_not_annotated_teaches_nothing(model, annotated, monkeypatch):
    images, targets = annotated
    # The same candidates are drawn of an image alone and beside another.
    monkeypatch.setattr(
        detkit.matching,
        "random_keys",
        lambda like, _: (torch.arange(like.shape[1]) * 7919 % 10007).int().expand_as(like),
    )
    of_one = _losses(model, images[:1], targets[:1])
    of_both = _losses(model, [images[0], images[0].flip(2)], [targets[0], Target(image_id="unknown")])
    torch.testing.assert_close(of_both, of_one)
    losses = _losses(model, images, [Target(), Target()])
    assert losses.keys() == ALL
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_a_region_is_cropped_once_for_all_branches_of_a_resolution(make_model, annotated):
    """Box, and three branches, two of them of the same resolution as the third: RoIAlign four times without memory."""
    more = BRANCHES | {"other": partial(MaskHead, channels=8, convolutions=1)}
    model, cropped = make_model(branches=more), []
    model.region_pool.register_forward_hook(lambda module, inputs, crops: cropped.append(crops.shape[-1]))
    _losses(model, *annotated)
    assert cropped == [7, 14]
    cropped.clear()
    model(annotated[0])
    assert cropped == [7, 14]
    finer = make_model(branches=BRANCHES | {"other": partial(MaskHead, resolution=10, channels=8, convolutions=1)})
    finer.region_pool.register_forward_hook(lambda module, inputs, crops: cropped.append(crops.shape[-1]))
    cropped.clear()
    _losses(finer, *annotated)
    assert cropped == [7, 14, 10]


class Enlarged(RegionBranch):
    """Crops nothing: it enlarges what the branch before it said of the same regions, with their sizes."""

    learns_from = frozenset({"masks", "area"})

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, crop, regions, so_far, context):
        self.seen.append((sorted(so_far), len(regions), regions.labels))
        sides = regions.boxes[:, 2:] - regions.boxes[:, :2]
        return so_far["mask"].mean(dim=(1, 2, 3)) * sides.prod(dim=1) * self.factor

    def losses(self, raw, regions, so_far, context):
        assert len(raw) == len(so_far["mask"]) == len(regions)
        return {"area": raw.square().sum() / 1e6}

    def decode(self, raw, regions, so_far, detections, context):
        assert len(raw) == sum(map(len, detections))
        areas = raw.split([len(result) for result in detections])
        return [replace(result, scores=area.sigmoid()) for result, area in zip(detections, areas, strict=True)]


def test_a_branch_may_stand_on_another_without_a_crop(make_model, annotated):
    model = make_model(branches={"mask": BRANCHES["mask"], "area": Enlarged}, score_threshold=0.0)
    assert model.learns_from == {"masks", "area"}
    losses = _losses(model, *annotated)
    losses["area"].backward()
    branches = model.branches
    assert branches["area"].factor.grad != 0
    assert branches["mask"].logits.weight.grad.abs().sum() > 0  # through what the mask branch said
    names, count, labels = branches["area"].seen[-1]
    assert names == ["mask"]
    assert count > 0
    assert (labels >= 0).all()
    result = model(annotated[0])
    _, count, labels = branches["area"].seen[-1]
    assert count == sum(map(len, result)) == len(labels)
    assert torch.equal(labels, torch.cat([detections.labels for detections in result]))


def test_the_same_generator_gives_the_same_losses(model, annotated):
    losses = [
        sum(model(*annotated, generator=torch.Generator().manual_seed(seed)).values()).item() for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]
