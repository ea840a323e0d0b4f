"""INT8 files: layers are quantized, everything else is as before."""

import numpy as np
import pytest
import torch
from narrow_models import MODELS
from numpy_reader import predict
from one_map_yolo import one_map_yolo
from spread_scores import spread
from tiny_backbone import TinyBackbone

from detkit.backbones import TimmBackbone
from detkit.data import ShapesOptions, draw_shapes
from detkit.errors import InputError
from detkit.exporting.export_file import export_file
from detkit.exporting.exported_graph import ExportedGraph
from detkit.exporting.precisions.calibration import calibration_files, calibration_inputs
from detkit.exporting.recording import record
from detkit.images import read_image
from detkit.models import Classifier
from detkit.preprocess import CenterCrop, ShortestEdge

onnxruntime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install detkit[onnx]")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install detkit[onnx]")


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Classifier(TimmBackbone("test_resnet", stages=[4]), 3, preprocess=CenterCrop((64, 64), 73)).eval()
    return spread(model, [torch.rand(3, 90, 120)])


def test_layers_are_quantized_and_answers_stay_near(model, tmp_path):
    folder = draw_shapes(tmp_path / "shapes", ShapesOptions({"train": 4}, (64, 150))) / "images" / "train"
    export_file(model, tmp_path / "m.onnx", int8=folder)
    proto = onnx.load(tmp_path / "m.onnx")
    kinds = [node.op_type for node in proto.graph.node]
    quantized = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert "QuantizeLinear" in kinds
    assert layers
    assert all(set(node.input[:2]) <= quantized for node in layers)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["detkit.precision"], facts["detkit.format"]) == ("int8", "1")
    files = sorted(folder.iterdir())
    for given, answer in zip(predict(session, [read_image(file) for file in files]), model.predict(files), strict=True):
        np.testing.assert_allclose(given[answer.labels], answer.scores, atol=0.05)


def test_many_images_are_spread_over_the_folder(tmp_path):
    for number in range(250):
        (tmp_path / f"{number:03}.jpg").touch()
    files = [int(file.stem) for file in calibration_files(tmp_path)]
    assert (len(files), files[0], files[-1]) == (100, 0, 249)


def test_the_ranges_are_those_of_the_input_of_the_file(tmp_path):
    folder = draw_shapes(tmp_path / "shapes", ShapesOptions({"train": 3}, (64, 150))) / "images" / "train"
    files = calibration_files(folder)
    assert [file.parent for file in files] == [folder] * 3
    model = MODELS["fast"](TinyBackbone).eval()
    model.preprocess = ShortestEdge(96, 160)
    recorded = record(model, size=(96, 96))
    for file, inputs in zip(files, calibration_inputs(recorded, files), strict=True):
        height, width = read_image(file).shape[:2]
        assert {name: values.shape for name, values in inputs.items()} == {
            "images": (1, 3, 96, 96), "sizes": (1, 2), "proposals": (1, 21, 4),
        }  # fmt: skip
        ((rows, columns),) = inputs["sizes"]
        assert max(rows, columns) == 96
        assert rows / columns == pytest.approx(height / width, rel=0.03)
        assert inputs["images"][..., :rows, :columns].std() > 0.02
        padding = np.concatenate([inputs["images"][..., rows:, :].ravel(), inputs["images"][..., columns:].ravel()])
        means = model.preprocess.mean.flatten().numpy()
        assert np.abs(padding[:, None] - means).min(axis=1).max() < 1e-5
        assert inputs["proposals"].max() == 96


@pytest.mark.parametrize("raw", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_files_of_a_fixed_size_are_quantized(raw, tmp_path):
    folder = draw_shapes(tmp_path / "shapes", ShapesOptions({"train": 3}, (64, 150))) / "images" / "train"
    detector = one_map_yolo(ShortestEdge(64, 96))
    export_file(detector, tmp_path / "m.onnx", raw=raw, size=(64, 96), int8=folder)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 64, 96]


@pytest.mark.slow
def test_a_detector_with_proposals_is_quantized(tmp_path):
    folder = draw_shapes(tmp_path / "shapes", ShapesOptions({"train": 3}, (64, 150))) / "images" / "train"
    torch.manual_seed(0)
    detector = MODELS["fast"](TinyBackbone).eval()
    detector.preprocess = ShortestEdge(96, 160)
    detector.box_head.postprocess.score_threshold = 0.0
    torch.nn.init.normal_(detector.box_head.classes.weight, std=0.5)
    export_file(detector, tmp_path / "m.onnx", int8=folder)
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    corners = torch.rand(2, 6, 2) * 60
    inputs = {
        "images": torch.rand(2, 3, 96, 128),
        "sizes": torch.tensor([[96, 120], [90, 128]]),
        "proposals": torch.cat((corners, corners + 10 + torch.rand(2, 6, 2) * 20), dim=2),
    }
    given = session.run(["scores", "count"], {name: values.numpy() for name, values in inputs.items()})
    with torch.no_grad():
        own = ExportedGraph(detector.folded())(**inputs)
    assert given[1].min() > 0
    np.testing.assert_allclose(given[0][:, 0], own["scores"][:, 0], atol=0.05)  # of the best box


def test_what_cannot_be_calibrated_says_so(model, tmp_path):
    with pytest.raises(InputError, match=r"INT8 is for ONNX files: leave it out, or export .*m\.onnx"):
        export_file(model, tmp_path / "m.pt2", int8=tmp_path)
    with pytest.raises(InputError, match=r"A file is in float16 or in INT8: leave one out"):
        export_file(model, tmp_path / "m.onnx", int8=tmp_path, float16=True)
