"""OpenVINO reads an exported file: the same detections as the model's, also after a conversion to its own format."""

import pytest
import torch
from numpy.testing import assert_equal
from one_map_yolo import one_map_yolo
from spread_scores import spread
from test_two_stage import model_of

from detkit.exporting.export_file import export_file
from detkit.exporting.output_check import EXACT, expected_outputs
from detkit.exporting.runtimes import open_exported
from detkit.tasks.differences.output_agreement import unequal_detections

for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")
openvino = pytest.importorskip("openvino", reason="needs openvino: pip install detkit[openvino]")


def one_stage():
    torch.manual_seed(0)
    return spread(one_map_yolo(), [torch.rand(3, 64, 96)])


@pytest.mark.slow
@pytest.mark.parametrize("make", [one_stage, lambda: model_of("masks and keypoints")], ids=["one stage", "two stages"])
def test_it_detects_the_same(make, tmp_path):
    recorded = export_file(make(), tmp_path / "m.onnx")
    converted = openvino.convert_model(str(tmp_path / "m.onnx"))
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    for name, compress in (("whole.xml", False), ("half.xml", True)):
        openvino.save_model(converted, str(tmp_path / name), compress_to_fp16=compress)
    assert open_exported(tmp_path / "half.xml").facts == open_exported(tmp_path / "m.onnx").facts
    for name in ("m.onnx", "whole.xml", "half.xml"):
        compiled = openvino.Core().compile_model(str(tmp_path / name), "CPU", hint)
        for count in (1, 2):
            inputs = {key: values[:count] for key, values in recorded.inputs.items()}
            outputs = compiled({key: values.numpy() for key, values in inputs.items()})
            given = {port.get_any_name(): torch.from_numpy(values) for port, values in outputs.items()}
            own = expected_outputs(recorded, inputs)
            assert_equal(given["count"].numpy(), own["count"].numpy())
            assert own["count"].min() > 20
            assert unequal_detections(given, own, EXACT) is None
