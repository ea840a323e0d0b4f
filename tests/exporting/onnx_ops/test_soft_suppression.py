"""Soft-NMS in ONNX Runtime, and as an operation of fixed size: the boxes and the scores of `soft_nms`."""

from functools import partial

import numpy as np
import pytest
import torch
from onnxruntime_op import in_onnxruntime

from detkit.ops import soft_nms
from detkit.ops.soft_nms import batched_soft_nms_padded

COUNT = 30


def random_boxes(images, count, seed):
    """Boxes of three classes that overlap much, a third of them none, and a score threshold."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(images, count, 2, generator=generator) * 100
    boxes = torch.cat((corners, corners + torch.rand(images, count, 2, generator=generator) * 60), dim=2)
    scores = torch.rand(images, count, generator=generator)
    scores[torch.rand(images, count, generator=generator) < 1 / 3] = -torch.inf
    return boxes, scores, torch.randint(3, (images, count), generator=generator), torch.tensor(0.05)


def suppressed(boxes, scores, labels, score_threshold):
    both = [
        batched_soft_nms_padded(boxes, scores, labels, score_threshold, 0.3, 0.5, method, COUNT)
        for method in ("linear", "gaussian")
    ]
    return [part for one in both for part in one]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return in_onnxruntime(suppressed, random_boxes(2, 9, 0), tmp_path_factory.mktemp("suppression"), axes=(0, 1))


@pytest.mark.parametrize(("images", "count"), [(1, 1), (3, 20), (2, 200)])
def test_the_same_boxes_have_the_same_scores(run, images, count):
    for seed in range(3):
        arguments = random_boxes(images, count, seed)
        for ours, theirs in zip(suppressed(*arguments), run(*arguments), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-6)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_an_image_has_the_first_of_its_own(method):
    boxes, scores, labels, threshold = random_boxes(3, 60, 0)
    scores[1] = -torch.inf
    rows, decayed = batched_soft_nms_padded(boxes, scores, labels, threshold, 0.3, 0.5, method, COUNT)
    alone = partial(soft_nms, iou_threshold=0.3, sigma=0.5, method=method, score_threshold=0.05)
    for image in range(3):
        kept, own = alone(boxes[image], scores[image], labels=labels[image])
        count = min(len(kept), COUNT)
        assert count == (0 if image == 1 else COUNT)
        assert rows[image].tolist() == kept[:count].tolist() + [0] * (COUNT - count)
        assert torch.equal(decayed[image, :count], own[:count])
        assert (decayed[image, count:] == -torch.inf).all()
