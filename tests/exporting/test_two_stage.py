"""Two-stage detectors as one graph: it detects what `predict` does, in PyTorch and in ONNX Runtime."""

from functools import partial

import pytest
import torch
from graph_answers import assert_same_answers, graph_inputs
from narrow_models import MODELS, small
from tiny_backbone import TinyBackbone

from detkit.errors import InputError
from detkit.exporting.exported_graph import ExportedGraph
from detkit.exporting.metadata import facts_of
from detkit.exporting.onnx_program import onnx_program
from detkit.exporting.output_check import check_file
from detkit.exporting.recording import record
from detkit.exporting.torch_programs import torch_export_program, torchscript_program
from detkit.heads import KeypointHead, MaskHead, RegionBranch
from detkit.models import MaskRCNN
from detkit.preprocess import ShortestEdge
from detkit.structures import Target

MASKS = partial(MaskHead, channels=8, convolutions=1)
KEYPOINTS = {"keypoint": partial(KeypointHead, num_keypoints=2, channels=8, convolutions=1)}
FAMILIES = {
    **{name: MODELS[name] for name in ("faster", "cascade", "fast")},
    "masks and keypoints": lambda backbone: MaskRCNN(backbone(8), 3, MASKS, KEYPOINTS, **small()),
    "mesh": MODELS["mesh"],
}
WITH_RESNET = {name: MODELS[name] for name in ("c4", "rcnn")}
SIZES = [(48, 80), (60, 98), (36, 60)]  # with little padding, where features and so scores are equal


@pytest.fixture
def exporting(monkeypatch):
    """The code of a graph runs at once instead of being recorded, as it is in the slow tests."""
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)


def model_of(name):
    """Random weights with scores and boxes that differ."""
    torch.manual_seed(0)
    model = (FAMILIES | WITH_RESNET)[name](TinyBackbone).eval()
    model.preprocess = ShortestEdge(96, 160)
    for layer, parameter in model.named_parameters():
        if layer.endswith(("classes.weight", "objectness.weight", "logits.weight", "deconvolution.weight")):
            torch.nn.init.normal_(parameter, std=0.5)
        elif layer.endswith("logits.bias"):  # of masks: about half of their pixels are of the object
            torch.nn.init.constant_(parameter, 1.0)
        elif layer.endswith("deltas.weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def with_images(model):
    """The model, three images and what it asks for with each: it finds something in the first two, nothing in the last.

    They are chosen among images of different brightness and contrast, and so is the threshold.
    """
    head = model.box_head.stages[-1] if hasattr(model.box_head, "stages") else model.box_head
    generator = torch.Generator().manual_seed(0)
    lights = [(0.0, 1.0), (0.5, 0.5), (0.0, 0.5), (0.25, 0.5), (0.0, 0.3), (0.7, 0.3)]
    noise = [torch.rand(3, *SIZES[index % 3], generator=generator) for index in range(12)]
    images = [light + contrast * one for one, (light, contrast) in zip(noise, lights * 2, strict=True)]
    given = [proposals_for(image, 12 - 2 * (index % 3)) for index, image in enumerate(images)]
    head.postprocess.score_threshold = 0.0
    scores = [one.scores for one in model.predict(images, given=given)]
    order = sorted(range(len(images)), key=lambda index: -float(scores[index][4]))
    first, second, last = order[0], order[1], min(order, key=lambda index: float(scores[index].max()))
    head.postprocess.score_threshold = (float(scores[last].max()) + float(scores[second][4])) / 2
    chosen = [images[index] for index in (first, second, last)]
    return model, chosen, [given[index] for index in (first, second, last)] if model.asks_for else None


def proposals_for(image, count):
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor(image.shape[:0:-1]) / 2
    boxes = torch.cat((corners, corners + torch.rand(count, 2, generator=generator) * 15 + 5), dim=1)
    return Target(proposals=boxes, camera=torch.tensor([[60.0, 0, 30], [0, 60, 20], [0, 0, 1]]))


def inputs_of(model, images, given):
    inputs = graph_inputs(model, images)
    if "proposals" in model.graph_fields:
        moved = [one.proposals for one in model.context(images, given=given).given]
        inputs["proposals"] = torch.nn.utils.rnn.pad_sequence(moved, batch_first=True)
    return inputs


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in WITH_RESNET)])
def test_the_code_of_the_graph_detects_the_same(name, request):
    model, images, given = with_images(model_of(name))
    expected = model.predict(images, given=given)
    assert [len(one) >= 5 for one in expected] == [True, True, False]
    assert len(expected[-1]) == 0
    assert all(one.masks is None or one.masks.any() for one in expected[:2])
    request.getfixturevalue("exporting")
    with torch.inference_mode():
        outputs = ExportedGraph(model.folded())(**inputs_of(model, images, given))
    assert_same_answers(outputs, expected, model, images)


@pytest.fixture(scope="module")
def recorded(request):
    """A model with its images and what it asks for, and its graph, which is recorded once for files of all formats."""
    model, images, given = with_images(model_of(request.param))
    return model, images, given, record(model)


# Faster R-CNN is part of Mask R-CNN: the same features, proposals and boxes.
@pytest.mark.slow
@pytest.mark.parametrize("recorded", [name for name in FAMILIES | WITH_RESNET if name != "faster"], indirect=True)
def test_onnx_runtime_detects_the_same(recorded, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")
    import onnxruntime

    model, images, given, graph = recorded
    content = onnx_program(graph, facts_of(graph))
    check_file(content, ".onnx", graph)
    (tmp_path / "m.onnx").write_bytes(content)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = [one.name for one in session.get_outputs()]
    for rows in (slice(3), slice(1), slice(2, 3), slice(1, 3)):
        batch, own = images[rows], given and given[rows]
        inputs = {name: value.numpy() for name, value in inputs_of(model, batch, own).items()}
        outputs = dict(zip(names, session.run(None, inputs), strict=True))
        assert_same_answers(outputs, model.predict(batch, given=own), model, batch)


@pytest.mark.slow
@pytest.mark.parametrize("program", [torch_export_program, torchscript_program])
@pytest.mark.parametrize("recorded", [name for name in FAMILIES if name != "faster"], indirect=True)
def test_files_for_torch_detect_the_same(recorded, program, tmp_path):
    model, images, given, graph = recorded
    path = tmp_path / "m"
    path.write_bytes(program(graph, facts_of(graph)))
    loaded = torch.export.load(path).module() if program is torch_export_program else torch.jit.load(path)
    for rows in (slice(3), slice(2, 3), slice(1, 3)):
        batch, own = images[rows], given and given[rows]
        with torch.no_grad():
            outputs = loaded(*inputs_of(model, batch, own).values())
        assert_same_answers(outputs, model.predict(batch, given=own), model, batch)


def test_a_branch_that_does_not_decode_in_a_graph_says_so():
    class Boxes(MaskHead):
        decode_padded = RegionBranch.decode_padded

    model = MaskRCNN(TinyBackbone(8), 3, partial(Boxes, channels=8, convolutions=1), **small()).eval()
    with pytest.raises(InputError, match=r"The MaskRCNN does not decode in a graph \(a head lacks decode_padded\)"):
        record(model, size=(96, 96))
