"""A file whose answers are not the model's is refused, also where the model finds nothing in the images."""

from functools import partial

import pytest
import torch
from narrow_models import small
from tiny_backbone import TinyBackbone

from detkit.errors import InputError
from detkit.exporting import output_check
from detkit.exporting.exported_graph import ExportedGraph
from detkit.exporting.output_check import check_file
from detkit.exporting.recording import Recorded
from detkit.heads import MaskHead
from detkit.models import MaskRCNN
from detkit.models.raw_graph import Raw
from detkit.tasks import task_of


@pytest.fixture(scope="module")
def model():
    """A detector that finds nothing: no score passes its threshold."""
    torch.manual_seed(0)
    model = MaskRCNN(TinyBackbone(8), 3, partial(MaskHead, channels=8, convolutions=1), **small()).eval()
    for layer in (model.box_head.classes, model.rpn.objectness):
        torch.nn.init.normal_(layer.weight, std=0.5)
    model.box_head.postprocess.score_threshold = 0.99
    return model


def recorded_of(model, raw=False):
    module = Raw(model.folded()) if raw else ExportedGraph(model.folded())
    generator = torch.Generator().manual_seed(0)
    inputs = {"images": torch.rand(2, 3, 64, 96, generator=generator)}
    if not raw:
        inputs["sizes"] = torch.tensor([[64, 96], [61, 90]])
    outputs = ["boxes", "scores", "labels", "count", "masks"]
    return Recorded(model, module, None, inputs, outputs, raw, module)


class File:
    """An opened file that computes what the graph does, with a fault."""

    runtime = "A runtime"

    def __init__(self, recorded, fault):
        self.recorded, self.fault, self.threshold = recorded, fault, None

    def move_score_thresholds_(self, threshold):
        self.threshold = threshold

    def run(self, inputs):
        outputs = output_check.expected_outputs(self.recorded, inputs, self.threshold)
        return {name: values.numpy() for name, values in self.fault(outputs, self.threshold).items()}


def check(monkeypatch, recorded, fault):
    files = []

    def opened(path):
        assert path.read_bytes() == b"content"
        files.append(File(recorded, fault))
        return files[-1]

    monkeypatch.setattr(output_check, "open_exported", opened)
    check_file(b"content", ".onnx", recorded)


def shifted(outputs, threshold):
    return {**outputs, "boxes": outputs["boxes"] + 5.0}


def permuted(outputs, threshold):
    return {**outputs, "labels": (outputs["labels"] + 1) % 3}


def inverted(outputs, threshold):
    return {**outputs, "masks": 1 - outputs["masks"]}


def silent(outputs, threshold):
    return {**outputs, "count": outputs["count"] * 0}


def only_of_the_first(outputs, threshold):
    boxes = outputs["boxes"].clone()
    boxes[1:] += 5.0
    return {**outputs, "boxes": boxes}


def never_empty(outputs, threshold):
    return {**outputs, "count": outputs["count"].clamp(min=3)} if threshold == output_check.ABOVE_ALL else outputs


def test_the_model_finds_nothing_in_the_images_of_the_check(model):
    recorded = recorded_of(model)
    assert output_check.expected_outputs(recorded, recorded.inputs)["count"].tolist() == [0, 0]
    assert min(output_check.expected_outputs(recorded, recorded.inputs, -1.0)["count"].tolist()) > 20
    assert model.box_head.postprocess.score_threshold == 0.99


def test_the_same_numbers_pass(model, monkeypatch):
    check(monkeypatch, recorded_of(model), lambda outputs, threshold: outputs)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (shifted, "boxes differ by 5"),
        (permuted, "labels are of other classes"),
        (inverted, "masks differ by"),
        (silent, "count is 0 instead of"),
        (only_of_the_first, "boxes differ by 5"),
        (never_empty, "count is 3 instead of 0"),
    ],
)
def test_a_fault_is_refused_with_the_name_of_the_output(model, monkeypatch, fault, name):
    with pytest.raises(InputError, match=rf"A runtime gives other numbers than the MaskRCNN: {name}.*not written"):
        check(monkeypatch, recorded_of(model), fault)


def test_the_task_of_the_model_says_what_differs(monkeypatch, model):
    task = type(task_of(model))
    monkeypatch.setattr(task, "outputs_differ", lambda self, given, own, tolerance: "a map differs in 9 pixels")
    with pytest.raises(InputError, match="the MaskRCNN: a map differs in 9 pixels; the file is not written"):
        check(monkeypatch, recorded_of(model), lambda outputs, threshold: outputs)
