"""One model with a box, a mask and a keypoint branch, learning from images that lack one kind of annotation."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from detkit.errors import InputError
from detkit.heads import KeypointHead, MaskHead
from detkit.ops import masks_to_rle

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
def annotated(pictures):
    """The two pictures, with a mask and keypoints for every object."""
    images, targets = pictures
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
        for image, found in zip(annotated[0], model(annotated[0]), strict=True):
            assert len(found) > 0
            assert found.masks.shape == (len(found), *image.shape[1:])
            assert found.keypoints.shape == (len(found), JOINTS, 3)


def test_an_image_in_which_nothing_is_found_has_no_masks_and_no_keypoints(make_model, annotated):
    model = make_model(branches=BRANCHES, score_threshold=2.0).eval()
    with torch.no_grad():
        for image, found in zip(annotated[0], model(annotated[0]), strict=True):
            assert found.masks.shape == (0, *image.shape[1:])
            assert found.keypoints.shape == (0, JOINTS, 3)
        model.rpn.score_threshold = 2.0  # and without any proposal
        for found in model(annotated[0]):
            assert len(found) == len(found.masks) == len(found.keypoints) == 0


def test_without_any_proposal_or_positive_region_the_losses_are_finite(model, annotated):
    images, targets = annotated
    model.rpn.score_threshold = 2.0
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
