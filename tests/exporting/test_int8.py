"""INT8 files: layers are quantized, everything else is as before."""

import numpy as np
import pytest
import torch
from numpy_reader import predict
from spread_scores import spread

from detkit.backbones import TimmBackbone
from detkit.data import ShapesOptions, draw_shapes
from detkit.errors import InputError
from detkit.exporting.export_file import export_file
from detkit.images import read_image
from detkit.models import Classifier
from detkit.preprocess import CenterCrop

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


def test_what_cannot_be_calibrated_says_so(model, tmp_path):
    with pytest.raises(InputError, match=r"INT8 is for ONNX files: leave it out, or export .*m\.onnx"):
        export_file(model, tmp_path / "m.pt2", int8=tmp_path)
