"""torchvision's two-stage detectors, of full size with random weights, in ONNX Runtime."""

import pytest
import torch
import torchvision
from graph_answers import assert_same_answers, graph_inputs
from torch import nn

from detkit.exporting.export_file import export_file
from detkit.preprocess import ShortestEdge
from detkit.weights import from_torchvision

pytest.importorskip("onnxscript", reason="needs onnxscript: pip install detkit[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install detkit[onnx]")

SIZES = [(120, 160), (150, 200)]


@torch.no_grad()
def detector(name, images):
    """The detector, the outputs of its last layers scaled so that scores and boxes differ."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    model = from_torchvision(name, theirs.state_dict()).eval()
    model.preprocess = ShortestEdge(192, 256)
    model.box_head.postprocess.score_threshold = 0.0

    def rescale(deviation, layer, inputs, output):
        layer.weight.mul_(deviation / output.std())
        return layer.forward(*inputs)

    deviations = {"objectness": 1.0, "classes": 2.0, "deltas": 0.5, "logits": 2.0}
    layers = [(deviations[path.split(".")[-1]], layer) for path, layer in model.named_modules()
              if path.split(".")[-1] in deviations and isinstance(layer, (nn.Conv2d, nn.Linear))]  # fmt: skip
    hooks = [
        layer.register_forward_hook(lambda *call, deviation=deviation: rescale(deviation, *call))
        for deviation, layer in layers
    ]
    model.detect(images)
    for hook in hooks:
        hook.remove()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"])  # Faster R-CNN is part of both
def test_onnx_runtime_detects_the_same(name, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for size in SIZES]
    model = detector(name, images)
    export_file(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = [one.name for one in session.get_outputs()]
    for batch in (images, images[1:]):
        inputs = {name: value.numpy() for name, value in graph_inputs(model, batch).items()}
        expected = model.predict(batch)
        assert all(len(one) > 20 for one in expected)
        assert_same_answers(dict(zip(names, session.run(None, inputs), strict=True)), expected, model, batch)
