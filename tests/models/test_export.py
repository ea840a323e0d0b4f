"""The YOLOs and SSDs as one graph: compiled, exported for batches of any size, and run by ONNX Runtime."""

from functools import partial

import pytest
import torch

from detkit.backbones import (
    CSPDarknet53,
    Darknet19,
    Darknet53,
    TappedMobileNet,
    TimmBackbone,
    YOLOv1Backbone,
)
from detkit.heads import YOLOv1Head
from detkit.models import SSD, Raw, SSDlite, YOLOv1, YOLOv2, YOLOv3, YOLOv4
from detkit.preprocess import Letterbox, Square

MODELS = {
    "v1": lambda: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8)),
    "v2": lambda: YOLOv2(Darknet19(0.02), 3, preprocess=Letterbox((96, 128))),
    "v3": lambda: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((96, 128))),
    "v4": lambda: YOLOv4(CSPDarknet53(0.05, [1] * 5), 3, preprocess=Letterbox((96, 128))),
    "SSD": lambda: SSD(TimmBackbone("resnet10t", stages=[4, 5]), 3, preprocess=Square(96)),
    "SSDlite": lambda: SSDlite(TappedMobileNet("mobilenet_v3_small"), 3, preprocess=Square(128)),
}
OF_ONE_SIZE = (YOLOv1, SSD)
QUICK = {"v3", "SSD"}  # tracing takes seconds for each


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in MODELS]
)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


@pytest.fixture(scope="module")
def graph(model):
    """Without batch norm, for any number of images, and but for YOLOv1 and the SSDs of any size."""
    sizes = {0: torch.export.Dim("batch", min=1)}
    if not isinstance(model, OF_ONE_SIZE):
        sizes |= {side: 32 * torch.export.Dim(f"cells{side}", min=2, max=40) for side in (2, 3)}
    return torch.export.export(Raw(model.folded()), (torch.rand(2, 3, *_size(model)),), dynamic_shapes=(sizes,))


def test_compiles_as_one_graph(model):
    images = torch.rand(2, 3, *_size(model))
    _equal(torch.compile(model.raw, fullgraph=True, backend="eager")(images), model.raw(images))


def test_is_exported_for_images_of_any_number_and_size(model, graph):
    exported, size = graph.module(), _size(model)
    for count, *sides in [(1, *size), (3, *size)] if isinstance(model, OF_ONE_SIZE) else [(1, 64, 160), (3, 224, 96)]:
        images = torch.rand(count, 3, *sides)
        _equal(exported(images), model.raw(images))


# tests/exporting/test_exported_graph.py compares the others, together with their decoding.
@pytest.mark.parametrize("model", ["SSD"], indirect=True)
def test_says_the_same_in_onnx_runtime(model, graph, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")
    import onnxruntime

    torch.onnx.export(graph, input_names=["images"], verbose=False).save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    model.head.postprocess.score_threshold = 0.001
    for images in ([torch.rand(3, 60, 90)], [torch.rand(3, 60, 90), torch.rand(3, 130, 70)]):
        batch = model.preprocess(images)
        raw = [torch.from_numpy(output) for output in session.run(None, {"images": batch.images.numpy()})]
        with torch.no_grad():
            kind = type(model.raw(batch.images))
            _equal(raw, model.raw(batch.images), atol=1e-4, rtol=1e-4)
            expected = model(images)
        raw = raw if kind is list else kind(*raw)
        detections = model.decode(raw, batch)
        assert [len(per_image) for per_image in detections] == [len(per_image) for per_image in expected]


def _size(model):
    size = model.preprocess.size
    return (size, size) if isinstance(size, int) else size


def _equal(ours, theirs, **tolerance):
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **tolerance)
