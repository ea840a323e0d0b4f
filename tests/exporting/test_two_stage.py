"""Two-stage detectors as one graph: it detects what `predict` does, in PyTorch and in ONNX Runtime."""

from functools import partial

import pytest
import torch
from graph_answers import assert_same_answers, graph_inputs
from narrow_models import MODELS, small
from tiny_backbone import TinyBackbone

from detkit.exporting.exported_graph import ExportedGraph
from detkit.heads import KeypointHead, MaskHead
from detkit.models import MaskRCNN
from detkit.structures import Target

MASKS = partial(MaskHead, channels=8, convolutions=1)
KEYPOINTS = {"keypoint": partial(KeypointHead, num_keypoints=2, channels=8, convolutions=1)}
FAMILIES = {
    **{name: MODELS[name] for name in ("faster", "cascade", "fast")},
    "masks and keypoints": lambda backbone: MaskRCNN(backbone(8), 3, MASKS, KEYPOINTS, **small()),
}
WITH_RESNET = {name: MODELS[name] for name in ("c4", "rcnn")}
SIZES = [(48, 64), (80, 40), (30, 90)]


@pytest.fixture
def exporting(monkeypatch):
    """The code of a graph runs as it is recorded, but at once: it is exported in the slow tests."""
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)


def model_of(name):
    """Random weights with scores that differ, and so few of them above the threshold that a dark image has none."""
    torch.manual_seed(0)
    model = (FAMILIES | WITH_RESNET)[name](TinyBackbone).eval()
    for layer, parameter in model.named_parameters():
        if layer.endswith(("classes.weight", "objectness.weight", "logits.weight", "deconvolution.weight")):
            torch.nn.init.normal_(parameter, std=0.5)
        elif layer.endswith("deltas.weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def images_of(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def given_for(model, images, seed=0):
    """Proposals, as many as differ from image to image, for a model that asks for them."""
    if not model.asks_for:
        return None
    generator = torch.Generator().manual_seed(seed)
    given = []
    for index, image in enumerate(images):
        corners = torch.rand(12 - 5 * index, 2, generator=generator) * torch.tensor(image.shape[:0:-1]) / 2
        sides = torch.rand(12 - 5 * index, 2, generator=generator) * 15 + 5
        given.append(Target(proposals=torch.cat((corners, corners + sides), dim=1)))
    return given


def with_a_threshold(model, images, given):
    """The model with the threshold between the best scores of two images, so that one of them has nothing."""
    head = model.box_head.stages[-1] if hasattr(model.box_head, "stages") else model.box_head
    head.postprocess.score_threshold = 0.0
    lowest, low, *_ = sorted(float(one.scores.max()) for one in model.predict(images, given=given))
    head.postprocess.score_threshold = (lowest + low) / 2
    return model


def inputs_of(model, images, given):
    inputs = graph_inputs(model, images)
    if given is not None:
        moved = [one.proposals for one in model.context(images, given=given).given]
        inputs["proposals"] = torch.nn.utils.rnn.pad_sequence(moved, batch_first=True)
    return inputs


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in WITH_RESNET)])
def test_the_code_of_the_graph_detects_the_same(name, request):
    images, model = images_of(SIZES), model_of(name)
    given = given_for(model, images)
    model = with_a_threshold(model, images, given)
    expected = model.predict(images, given=given)
    assert sorted(len(one) > 0 for one in expected)[:2] == [False, True]
    request.getfixturevalue("exporting")
    with torch.inference_mode():
        outputs = ExportedGraph(model.folded())(**inputs_of(model, images, given))
    assert_same_answers(outputs, expected, model, images)
