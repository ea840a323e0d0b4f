"""A panoptic model as an ONNX file: ONNX Runtime's outputs, merged, are the maps of the model."""

import json
import sys
from pathlib import Path

import pytest
import torch

from detkit.exporting.export_file import export_file
from detkit.exporting.runtimes import open_exported
from detkit.models import MergeRule
from detkit.trust.certificate.file_answers import FileAnswers
from detkit.trust.certificate.stated_facts import StatedFacts

sys.path.append(str(Path(__file__).parents[1] / "models" / "panoptic"))
from panoptic_models import make_batch, make_model


@pytest.mark.slow
@torch.no_grad()
def test_onnx_runtime_answers_as_the_model(tmp_path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = make_model(merge=MergeRule(0.1, 0.5, 10)).eval()
    for name, weight in model.named_parameters():
        if name.endswith(("objectness.weight", "classes.weight")):
            torch.nn.init.normal_(weight, std=0.5)
    export_file(model, tmp_path / "panoptic.onnx")
    file = open_exported(tmp_path / "panoptic.onnx")
    assert json.loads(file.facts["detkit.outputs"])["semantic"].startswith("(B, K + 1, h, w) logits")
    answers = FileAnswers(file, model, StatedFacts(file, model))
    for seed, sizes in enumerate([[(50, 70)], [(64, 48), (50, 70), (40, 60)]]):
        images, _ = make_batch(seed, sizes)
        found, expected = answers.answers(answers.inputs(images, [])), model(images)
        for one, own in zip(found, expected, strict=True):
            assert one.panoptic_map.shape == own.panoptic_map.shape
            assert (one.panoptic_map == own.panoptic_map).float().mean() > 0.995
            assert len(own.segments()) > 1
            assert any(segment.instance for segment in own.segments())
            torch.testing.assert_close(one.boxes, own.boxes, atol=0.05, rtol=0)
