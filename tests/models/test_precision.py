"""Models in float16 and bfloat16 predict, with boxes in float32; and batch sizes that are none."""

import copy

import pytest
import torch
from every_model import GIVEN, IMAGES, MODELS

from detkit.errors import InputError
from detkit.ops import box_iou
from detkit.structures import ObjectShape, SemanticMap

UINT8 = [(image * 255).to(torch.uint8) for image in IMAGES]


def _predict(model, images):
    return model.predict(images, **({"given": GIVEN} if model.asks_for else {}))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_model_predicts_in_bfloat16(tiny_backbone, make):
    torch.manual_seed(0)
    model = make(tiny_backbone).eval()
    for module in model.modules():
        if getattr(module, "postprocess", None) is not None:
            module.postprocess.detections = 5  # for the speed of masks and keypoints
    half = copy.deepcopy(model).bfloat16()
    for images in (IMAGES, UINT8):
        for full, answer in zip(_predict(model, images), _predict(half, images), strict=True):
            values = [value for value in vars(answer).values() if isinstance(value, torch.Tensor)]
            assert all(value.dtype == torch.float32 for value in values if value.is_floating_point())
            assert all(value.isfinite().all() for value in values)
            if isinstance(full, SemanticMap):
                assert (answer.label_map == full.label_map).float().mean() > 0.9
                continue
            if isinstance(full, ObjectShape):
                torch.testing.assert_close(answer.voxels, full.voxels, atol=0.03, rtol=0)
                continue
            count = min(len(full.scores), len(answer.scores))
            torch.testing.assert_close(answer.scores[:count], full.scores[:count], atol=0.03, rtol=0)


@pytest.mark.parametrize("dtype", [pytest.param(torch.float16, marks=pytest.mark.slow), torch.bfloat16])
def test_boxes_are_those_of_float32(trained, samples, dtype):
    """Also as float16, on a detector that has learned: the same objects, within two pixels."""
    images, _ = samples
    half = copy.deepcopy(trained).to(dtype)
    for full, answer in zip(trained.predict(images), half.predict(images), strict=True):
        full, answer = full[full.scores > 0.5], answer[answer.scores > 0.3]
        assert len(full) > 0
        overlaps = box_iou(full.boxes, answer.boxes) * (full.labels[:, None] == answer.labels)
        best, row = overlaps.max(dim=1)
        assert float(best.min()) > 0.9
        torch.testing.assert_close(answer.boxes[row], full.boxes, atol=2.0, rtol=0)
        torch.testing.assert_close(answer.scores[row], full.scores, atol=0.03, rtol=0)


def test_anchors_and_pixel_statistics_keep_float32(tiny_backbone):
    model = MODELS["retinanet"](tiny_backbone)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.half()
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}
    model.double()
    assert {buffer.dtype for buffer in model.buffers() if buffer.is_floating_point()} == {torch.float64}


def test_an_operation_that_torch_lacks_is_one_sentence(tiny_backbone, monkeypatch):
    model = MODELS["retinanet"](tiny_backbone).half()

    def lacking(*arguments):
        raise RuntimeError("\"some_kernel\" not implemented for 'Half'")

    monkeypatch.setattr(model.backbone, "forward", lacking)
    with pytest.raises(InputError, match=r"RetinaNet in float16 cannot run on the cpu: .*some_kernel.*float\(\)"):
        model.predict(IMAGES)


@pytest.mark.parametrize("batch_size", [0, -1, True, 1.5, None, "2"])
def test_a_batch_size_that_is_none_is_refused(tiny_backbone, batch_size):
    model = MODELS["classifier"](tiny_backbone)
    for inputs in (IMAGES, IMAGES[0]):
        with pytest.raises(InputError, match="batch_size must be an integer of at least 1, got"):
            model.predict(inputs, batch_size=batch_size)
