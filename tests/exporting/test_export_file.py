"""Files of every format: what they hold, what they say of themselves, and what cannot be exported."""

import json

import pytest
import torch
from one_map_yolo import one_map_yolo
from spread_scores import spread
from torch import nn
from torch.nn import functional as F

from detkit.backbones import Backbone, TimmBackbone
from detkit.errors import InputError
from detkit.exporting import export_file as room
from detkit.exporting.export_file import export_file
from detkit.exporting.metadata import facts_of
from detkit.exporting.recording import output_names, record
from detkit.exporting.runtimes.torch_graphs import TorchExportFile
from detkit.heads import FCNHead, MergeBoxes, TopK
from detkit.models import SSD, SegmentationModel
from detkit.models.pixel.inference import SlidingWindow, Views, Whole
from detkit.preprocess import OriginalSize, ShortestEdge, Square
from detkit.structures import Category, WeightsSource


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = one_map_yolo()
    model.categories = [Category(1, "cat"), Category(2, "dog"), Category(5, "cow")]
    model.provenance = (WeightsSource("darknet", "https://pjreddie.com", "public domain"),)
    return model


@pytest.fixture(scope="module")
def recorded(model):
    return record(model)


def test_a_file_says_what_it_takes_and_gives(recorded):
    facts = facts_of(recorded)
    assert (facts["detkit.format"], facts["detkit.model"], facts["detkit.task"]) == ("1", "YOLOv3", "detection")
    assert json.loads(facts["detkit.classes"]) == ["cat", "dog", "cow"]
    assert json.loads(facts["detkit.license"]) == ["public domain"]
    how = json.loads(facts["detkit.preprocess"])
    assert (how["kind"], how["size"], how["pad_value"]) == ("Letterbox", [64, 96], [0.5, 0.5, 0.5])
    assert list(json.loads(facts["detkit.outputs"])) == recorded.outputs == ["boxes", "scores", "labels", "count"]
    assert all(json.loads(facts["detkit.outputs"]).values())


def test_a_graph_gives_what_the_model_gives(recorded):
    images = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        given, own = recorded.program.module()(images), recorded.module(images)
    assert given["count"].tolist() == own["count"].tolist()
    torch.testing.assert_close(given["scores"][:, : own["scores"].shape[1]], own["scores"])


def test_a_suffix_of_another_format_is_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"m\.pt2: the suffix is that of torch_export, but the format is torchscript"):
        export_file(model, tmp_path / "m.pt2", "torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".pt2", ".ts"])
def test_files_for_torch_take_any_number_of_images(model, tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    recorded = export_file(model, path)
    file = torch.export.load(path).module() if suffix == ".pt2" else torch.jit.load(path)
    images = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        given, own, none = file(images), recorded.module(images), file(images[:0])
    assert given["boxes"].shape == (3, 100, 4)
    assert given["count"].tolist() == own["count"].tolist()
    assert {name: values.shape for name, values in none.items()} == {
        "boxes": (0, 100, 4), "scores": (0, 100), "labels": (0, 100), "count": (0,),
    }  # fmt: skip


def test_without_onnx_runtime_it_says_that_nothing_was_compared(model, recorded, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(room, "record", lambda *given: recorded)
    find_spec = room.find_spec
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    monkeypatch.setitem(room._WRITERS, "onnx", lambda recorded, facts: b"content")
    export_file(model, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"content"
    assert "m.onnx is not compared with the model: onnxruntime is not installed" in caplog.text


def test_other_numbers_are_not_written(model, recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "record", lambda *given: recorded)
    (tmp_path / "m.pt2").write_text("an earlier file")
    run = TorchExportFile.run
    monkeypatch.setattr(TorchExportFile, "run", lambda *given: {**run(*given), "scores": run(*given)["scores"] + 0.01})
    with pytest.raises(InputError, match=r"torch .* gives other numbers than the YOLOv3: scores differ by 0\.01"):
        export_file(model, tmp_path / "m.pt2")
    assert (tmp_path / "m.pt2").read_text() == "an earlier file"


def test_what_cannot_be_exported_says_so(model, tmp_path):
    with pytest.raises(InputError, match=r"m\.tflite: the suffix tells no format: use one of \.onnx \(onnx\)"):
        export_file(model, tmp_path / "m.tflite")
    with pytest.raises(InputError, match="There is no format 'tflite': choose onnx, torch_export or torchscript"):
        export_file(model, tmp_path / "m.tflite", "tflite")
    with pytest.raises(InputError, match="The YOLOv3 takes images of 64 x 96: leave out the size"):
        record(model, size=(96, 96))


def test_a_suppression_that_depends_on_the_boxes_says_so():
    merging = one_map_yolo(Square(64))
    merging.head.postprocess = MergeBoxes()
    with pytest.raises(InputError, match="MergeBoxes cannot be part of a graph: set NMS, SoftNMS or TopK as postproc"):
        record(merging)


def test_without_suppression_the_best_boxes_are_the_answer():
    torch.manual_seed(0)
    ssd = spread(
        SSD(TimmBackbone("test_resnet", stages=[3, 4]), 3, preprocess=Square(96)).eval(), [torch.rand(3, 90, 90)]
    )
    ssd.head.postprocess = TopK(detections=20)
    recorded, images = record(ssd), torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        given, own = recorded.program.module()(images), recorded.module(images)
    assert given["count"].tolist() == own["count"].tolist() == [20, 20, 20]
    for name in given:
        torch.testing.assert_close(given[name], own[name], atol=1e-3, rtol=0)


def test_sides_of_any_length_are_multiples_of_the_divisor(model):
    any_size = one_map_yolo(ShortestEdge(64, 96))
    with pytest.raises(InputError, match=r"takes sides that are multiples of 32, got \(60, 96\)"):
        record(any_size, size=(60, 96))


class CeilPooled(Backbone):
    """Adds maps of rounded-up pooling and of strided convolution, whose sizes torch cannot prove equal."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [4], [4]
        self.convolutions = nn.ModuleList([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)])

    def forward(self, images):
        first, second = self.convolutions
        maps = first(images)
        return [second(maps) + F.avg_pool2d(maps, 2, ceil_mode=True)]


def test_sides_that_do_not_fit_together_say_what_helps():
    model = SegmentationModel(CeilPooled(), 2, FCNHead, preprocess=OriginalSize()).eval()
    with pytest.raises(
        InputError, match=r"such as --size \[480,640\], or give its preprocess the divisor 4\."
    ) as error:
        record(model)
    assert str(error.value).startswith("The SegmentationModel takes images of any size, but some of its layers fit")
    assert record(model, size=(30, 42)).shapes["images"] == ["batch", 3, 30, 42]
    model.preprocess.divisor = 4
    assert record(model).shapes["images"] == ["batch", 3, "height", "width"]


def test_what_a_file_leaves_out_is_said(tmp_path, caplog):
    model = SegmentationModel(CeilPooled(), 2, FCNHead, preprocess=Square(32)).eval()
    for inference in (None, Whole()):
        model.inference = inference
        export_file(model, tmp_path / "m.pt2")
        assert not [one for one in caplog.messages if "leaves out" in one]
    views = Views(horizontal_flip=True)
    for inference, by in (
        (SlidingWindow((32, 32)), "SlidingWindow"),
        (SlidingWindow((32, 32), views=views), "SlidingWindow and Views"),
        (Whole(views), "Views"),
    ):
        model.inference = inference
        export_file(model, tmp_path / "m.pt2")
        (said,) = [one for one in caplog.messages if "leaves out" in one]
        assert f"it leaves out the inference by {by}, which is up to the program" in said
        caplog.clear()


def test_outputs_have_the_names_of_the_heads():
    ssd = SSD(TimmBackbone("test_resnet", stages=[3, 4]), 3, preprocess=Square(96)).eval()
    with torch.no_grad():
        assert output_names(ssd.raw(torch.rand(1, 3, 96, 96))) == ["logits", "deltas", "default_boxes"]
    assert output_names([torch.ones(1), None]) == ["output.0"]
    assert set(room.SUFFIXES.values()) == {".onnx", ".pt2", ".ts"}
