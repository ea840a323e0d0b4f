"""detectron2's Panoptic FPN: detections and semantic logits, on random weights with the zoo's names and shapes."""

import pytest
import torch
from detectron2_reference import _pyramid, _trunk, detect, random_weights, spread_outputs
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads import Context
from detkit.weights import from_detectron2, to_detectron2
from detkit.weights.detectron2_panoptic import NAMES

THINGS, STUFF = 4, 3
SIZE = (96, 128)
MEAN = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)


def panoptic_weights(things, stuff, seed):
    """Those of Mask R-CNN, and a semantic head with an output for all things ahead of those for stuff."""
    weights = random_weights(True, masks=True, classes=things, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for level in range(2, 6):
        for layer in range(max(1, level - 2)):
            name, channels = f"sem_seg_head.p{level}.{2 * layer}", 128 if layer else 256
            weights[f"{name}.weight"] = torch.randn(128, channels, 3, 3, generator=generator) * 0.03
            weights[f"{name}.norm.weight"] = torch.rand(128, generator=generator) + 0.5
            weights[f"{name}.norm.bias"] = torch.randn(128, generator=generator) * 0.1
    weights["sem_seg_head.predictor.weight"] = torch.randn(stuff + 1, 128, 1, 1, generator=generator) * 0.1
    weights["sem_seg_head.predictor.bias"] = torch.randn(stuff + 1, generator=generator)
    return weights


def semantic_logits(weights, image):
    """Section 3 of the paper with detectron2's names: BGR in 0..255, 32 groups, bilinear x2 by centers of pixels."""
    maps = _pyramid(weights, _trunk(weights, (image.flip(0) * 255 - MEAN)[None], "backbone.bottom_up.", 5))
    total = 0
    for level, x in zip(range(2, 6), maps, strict=False):
        for layer in range(max(1, level - 2)):
            name = f"sem_seg_head.p{level}.{2 * layer}"
            x = F.conv2d(x, weights[f"{name}.weight"], padding=1)
            x = F.relu(F.group_norm(x, 32, weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]))
            if level > 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    return F.conv2d(total, weights["sem_seg_head.predictor.weight"], weights["sem_seg_head.predictor.bias"])


@torch.no_grad()
def test_detections_and_semantic_logits_are_those_of_the_conventions_written_out():
    seed = torch.seed() % 1000
    weights = panoptic_weights(THINGS, STUFF, seed)
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(seed))
    spread_outputs(weights, image, True)
    model = from_detectron2("COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml", {"model": weights}).eval()
    model.preprocess.min_size, model.preprocess.max_size = min(SIZE), max(SIZE)
    model.rpn.postprocess.detections, model.box_head.postprocess.detections = 40, 8
    assert [one.is_thing for one in model.categories] == [True] * THINGS + [False] * STUFF
    batch = model.preprocess([image])
    raw = model.heads(model.features(batch), Context(batch))
    expected = semantic_logits(weights, image)
    given = raw.semantic.logits
    torch.testing.assert_close(given[:, THINGS : THINGS + STUFF], expected[:, 1:], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(given[:, -1], expected[:, 0], atol=1e-3, rtol=1e-4)
    assert (given[:, :THINGS] < -5000).all()  # single things are no outputs of this head
    boxes, scores, labels, _ = detect(weights, image, True, 40, 8)
    answer = model([image])[0]
    assert sorted(answer.labels.tolist()) == sorted(labels.tolist())
    torch.testing.assert_close(answer.scores, scores, atol=1e-4, rtol=0)
    distance = (boxes[:, None] - answer.boxes).abs().amax(dim=2)
    assert (distance.amin(dim=1) < 1e-2).all(), seed
    assert (model.merge.score_threshold, model.merge.overlap_threshold, model.merge.stuff_area_threshold) == (
        0.5,
        0.5,
        4096,
    )


def test_weights_of_coco_have_its_133_categories():
    model = from_detectron2(NAMES[0], panoptic_weights(80, 53, 0))
    assert len(model.categories) == model.num_classes == 133
    by_id = {one.id: (one.name, one.is_thing) for one in model.categories}
    assert by_id[1] == ("person", True)
    assert by_id[90] == ("toothbrush", True)
    assert by_id[92] == ("banner", False)
    assert by_id[200] == ("rug-merged", False)
    assert [one.id for one in model.categories] == sorted(by_id)


def test_what_does_not_fit_is_named():
    weights = panoptic_weights(THINGS, STUFF, 0)
    with pytest.raises(InputError, match=r"no sem_seg_head\.predictor\.bias in the state dict"):
        from_detectron2(NAMES[0], random_weights(True, masks=True, classes=THINGS, seed=0))
    model = from_detectron2(NAMES[0], weights)
    with pytest.raises(InputError, match="no PanopticFPN"):
        to_detectron2(model)
