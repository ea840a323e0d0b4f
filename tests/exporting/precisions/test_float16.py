"""Float16 files: layers in half, everything else in float32, and the same detections."""

import math

import pytest
import torch
from one_map_yolo import one_map_yolo
from spread_scores import spread
from torch import nn

from detkit.errors import InputError
from detkit.exporting.export_file import export_file
from detkit.exporting.precisions.float16 import in_float16
from detkit.exporting.recording import record
from detkit.exporting.runtimes import open_exported


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return spread(one_map_yolo(), [torch.rand(3, 64, 96)])


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".ts", marks=pytest.mark.slow)])
def test_it_detects_the_same_to_the_digits_of_half(model, suffix, tmp_path):
    if suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")
    images = torch.rand(2, 3, 64, 96)
    sizes = {}
    for float16 in (False, True):
        path = tmp_path / f"{float16}{suffix}"
        export_file(model, path, float16=float16)
        sizes[float16] = path.stat().st_size
    file = open_exported(path)
    assert (file.precision, file.facts["detkit.precision"]) == ("float16", "float16")
    assert sizes[True] < 0.8 * sizes[False]
    given, own = file.run({"images": images}), open_exported(tmp_path / f"False{suffix}").run({"images": images})
    assert {str(values.dtype) for values in given.values()} == {"float32", "int64"}
    for image in range(2):
        assert given["count"][image] > 20
        for row in range(20):
            box, score, label = (given[name][image, row] for name in ("boxes", "scores", "labels"))
            alike = (
                (abs(own["boxes"][image] - box).max(axis=1) < 0.5)
                & (abs(own["scores"][image] - score) < 5e-3) & (own["labels"][image] == label)
            )  # fmt: skip
            assert alike.any()


def test_a_model_in_half_takes_and_gives_float32(model):
    recorded = record(one_map_yolo().half())
    assert recorded.inputs["images"].dtype == torch.float32
    assert not recorded.is_exact
    with torch.no_grad():
        outputs = recorded.module(recorded.inputs["images"])
    assert {values.dtype for values in outputs.values()} == {torch.float32, torch.int64}


def test_the_network_alone_takes_and_gives_float32(model):
    recorded = record(model, raw=True, float16=True)
    with torch.no_grad():
        given, own = (one(recorded.inputs["images"]) for one in (recorded.module, recorded.reference))
    for half, full in zip(given, own, strict=True):
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, full, atol=0.02 * float(full.abs().max()), rtol=0)
    assert next(recorded.module.parameters()).dtype == torch.float16
    assert next(model.parameters()).dtype == torch.float32


def test_normalization_that_overflows_in_half_stays_in_float32():
    norm = nn.GroupNorm(1, 4)
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(norm))
    network[0].weight.data.mul_(2e4)
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        squared = network[0](x).half().square().sum()
        assert math.isinf(squared)
        torch.testing.assert_close(in_float16(network)(x.half()).float(), network(x), atol=0.01, rtol=0.01)
    assert norm.weight.dtype == torch.float32


def test_bfloat16_is_refused(model):
    with pytest.raises(InputError, match=r"The YOLOv3 is in bfloat16, which exported files do not have: export model"):
        record(one_map_yolo().bfloat16())
