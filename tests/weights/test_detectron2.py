"""from_detectron2 on random weights with the zoo's names and shapes, against its conventions in plain torch."""

import pytest
import torch
from detectron2_reference import detect, random_weights, spread_outputs

from detkit.errors import InputError
from detkit.weights import from_detectron2, to_detectron2

CLASSES = 5
KINDS = {"C4": False, "FPN": True}
PROPOSALS, DETECTIONS = 40, 8  # few, for the test's speed
SIZE = (96, 144)


def _noise(seed):
    return torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=KINDS)
def twins(request):
    """Weights of a Mask R-CNN, our model with them, and whether it has a pyramid."""
    pyramid = KINDS[request.param]
    weights = random_weights(pyramid, masks=True, classes=CLASSES, seed=1)
    spread_outputs(weights, _noise(1), pyramid)
    model = from_detectron2(f"mask_rcnn_R_50_{request.param}_3x", {"model": weights}).eval()
    model.preprocess.min_size, model.preprocess.max_size = min(SIZE), max(SIZE)
    model.rpn.postprocess.detections, model.box_head.postprocess.detections = PROPOSALS, DETECTIONS
    return weights, model, pyramid


@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_detections_and_masks_are_those_of_the_conventions_written_out(twins, seed, monkeypatch):
    weights, model, pyramid = twins
    seen = []
    monkeypatch.setattr(
        "detkit.heads.region.mask.batched_paste_masks",
        lambda masks, boxes, counts, sizes, threshold: seen.append(masks) or [masks > threshold],
    )
    image = _noise(seed)
    boxes, scores, labels, masks = detect(weights, image, pyramid, PROPOSALS, DETECTIONS)
    with torch.inference_mode():
        (detections,) = model([image])
    assert len(boxes) == DETECTIONS
    assert len(labels.unique()) > 1
    distance = (boxes[:, None] - detections.boxes).abs().amax(dim=2)
    distance[labels[:, None] != detections.labels] = torch.inf
    order = distance.argmin(dim=1)
    assert sorted(order.tolist()) == list(range(len(detections)))
    torch.testing.assert_close(detections.boxes[order], boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(detections.scores[order], scores, atol=1e-4, rtol=0)
    assert masks.shape[-1] == (28 if pyramid else 14)
    assert masks.std() > 0.1
    torch.testing.assert_close(seen[0][order], masks, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "pyramid"), KINDS.items())
def test_a_detector_without_masks(kind, pyramid):
    weights = random_weights(pyramid, masks=False, classes=80, seed=0)
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    model = from_detectron2(f"COCO-Detection/faster_rcnn_R_50_{kind}_1x.yaml", arrays)
    assert not model.branches
    assert [model.categories[label].name for label in (0, 79)] == ["person", "toothbrush"]
    assert model.categories[79].id == 90


def test_sizes_are_rounded_as_detectron2_does():
    preprocess = from_detectron2("faster_rcnn_R_50_C4_1x", random_weights(False, False, 1, seed=0)).preprocess
    # 800 / 427 * 640 = 1199.06 and 800 / 333 * 500 = 1201.2; 1333 / 640 * 200 = 416.56.
    sizes = [(427, 640), (500, 333), (200, 640), (640, 427)]
    assert [preprocess([torch.rand(3, *size)]).sizes[0] for size in sizes] == [
        (800, 1199), (1201, 800), (417, 1333), (1199, 800),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def weights():
    """Of a Faster R-CNN on a pyramid."""
    return random_weights(True, masks=False, classes=3, seed=0)


class TestRefusals:
    def test_an_unknown_name(self, weights):
        with pytest.raises(InputError, match=r"'faster_rcnn_X_101_32x8d_FPN_3x', only faster_rcnn_R_50_C4_1x, "):
            from_detectron2("faster_rcnn_X_101_32x8d_FPN_3x", weights)

    def test_missing_and_unknown_tensors_are_named_as_detectron2_does(self, weights):
        wrong = dict(weights)
        wrong["backbone.bottom_up.res2.0.conv4.weight"] = wrong.pop("backbone.bottom_up.res2.0.conv1.norm.weight")
        pattern = (
            r"lacks backbone\.bottom_up\.res2\.0\.conv1\.norm\.weight; .* excess backbone\.bottom_up\.res2\.0\.conv4"
        )
        with pytest.raises(InputError, match=pattern):
            from_detectron2("faster_rcnn_R_50_FPN_1x", wrong)
        with pytest.raises(InputError, match=r"lacks roi_heads\.mask_head\.mask_fcn1\.weight"):
            from_detectron2("mask_rcnn_R_50_FPN_1x", weights)
        with pytest.raises(InputError, match=r"lacks backbone\.stem\.conv1\.weight"):
            from_detectron2("faster_rcnn_R_50_C4_1x", weights)

    def test_another_shape(self, weights):
        wrong = weights | {"roi_heads.box_head.fc1.weight": torch.zeros(1024, 256)}
        with pytest.raises(InputError, match=r"fc1\.weight \(1024, 256\) instead of \(1024, 12544\)"):
            from_detectron2("faster_rcnn_R_50_FPN_1x", wrong)

    def test_no_detector_at_all(self):
        with pytest.raises(InputError, match=r"no roi_heads\.box_predictor\.cls_score\.bias"):
            from_detectron2("faster_rcnn_R_50_FPN_1x", {})

    def test_anchors_and_colors_that_files_hold_are_looked_at(self, weights):
        more = weights | {
            "pixel_mean": torch.tensor([[[1.0]], [[2.0]], [[3.0]]]),
            "pixel_std": torch.full((3, 1, 1), 2.0),
        }
        name = "proposal_generator.anchor_generator.cell_anchors.0"
        more[name] = torch.tensor(
            [[-22.6274, -11.3137, 22.6274, 11.3137], [-16, -16, 16, 16], [-11.3137, -22.6274, 11.3137, 22.6274]]
        )
        model = from_detectron2("faster_rcnn_R_50_FPN_1x", more)
        torch.testing.assert_close(model.preprocess.mean.flatten() * 255, torch.tensor([3.0, 2, 1]))
        torch.testing.assert_close(model.preprocess.std.flatten() * 255, torch.full((3,), 2.0))
        with pytest.raises(InputError, match=r"cell_anchors\.0 are not the anchors"):
            from_detectron2("faster_rcnn_R_50_FPN_1x", more | {name: 2 * more[name]})


class TestLeaving:
    @pytest.mark.parametrize(("kind", "pyramid"), KINDS.items())
    def test_the_same_bits_come_back(self, kind, pyramid):
        weights = random_weights(pyramid, masks=True, classes=CLASSES, seed=3)
        model = from_detectron2(f"mask_rcnn_R_50_{kind}_3x", weights)
        exported = to_detectron2(model)
        assert exported.name == f"mask_rcnn_R_50_{kind}_3x"
        assert exported.settings == {"MODEL.ROI_HEADS.NUM_CLASSES": CLASSES}
        pixels = {"pixel_mean": [103.53, 116.28, 123.675], "pixel_std": [1.0, 1.0, 1.0]}
        for name, values in pixels.items():
            assert torch.equal(exported.state_dict[name], torch.tensor(values).view(3, 1, 1))
        assert exported.state_dict.keys() - pixels.keys() == weights.keys() - pixels.keys()
        for name in weights.keys() - pixels.keys():
            assert torch.equal(exported.state_dict[name], torch.as_tensor(weights[name]))

    def test_settings_are_those_of_its_config(self, weights):
        model = from_detectron2("faster_rcnn_R_50_FPN_1x", weights)
        model.preprocess.min_size = 640
        model.box_head.postprocess.score_threshold = 0.3
        model.preprocess.mean.fill_(0.5)
        assert to_detectron2(model).settings == {
            "INPUT.MIN_SIZE_TEST": 640,
            "MODEL.PIXEL_MEAN": [127.5] * 3,
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.3,
            "MODEL.ROI_HEADS.NUM_CLASSES": 3,
        }

    def test_what_its_config_cannot_say_is_refused(self, weights):
        model = from_detectron2("faster_rcnn_R_50_FPN_1x", weights)
        model.region_pool.aligned = False
        with pytest.raises(InputError, match=r"region_pool.aligned is False, in detectron2's faster_rcnn_R_50_FPN_3x"):
            to_detectron2(model)
