"""The example of docs/export.md, in a process that cannot import torch or detkit."""

import subprocess
import sys
from functools import partial

import cv2
import pytest
import torch
from numpy_reader import EXAMPLE
from spread_scores import spread

from detkit.backbones import TimmBackbone
from detkit.exporting.export_file import export_file
from detkit.heads import FCOSHead
from detkit.models import FCOS
from detkit.necks import FPN
from detkit.preprocess import ShortestEdge
from detkit.structures import Category

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install detkit[onnx]")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install detkit[onnx]")

WITHOUT_TORCH = "import sys\nsys.modules.update(torch=None, detkit=None)\n"


def test_it_prints_what_the_model_finds(tmp_path):
    torch.manual_seed(0)
    neck, head = partial(FPN, out_channels=8, extra_levels=None), partial(FCOSHead, convolutions=1)
    model = FCOS(TimmBackbone("test_resnet", stages=[4]), 3, neck, head, ShortestEdge(100, 160)).eval()
    model.categories = [Category(1, "car"), Category(2, "bus"), Category(3, "dog")]
    image = (torch.rand(120, 90, 3) * 255).byte().numpy()
    cv2.imwrite(str(tmp_path / "street.jpg"), image)
    spread(model, [torch.rand(3, 90, 120)])
    export_file(model, tmp_path / "mine.onnx")
    code = WITHOUT_TORCH + EXAMPLE
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = model.predict(tmp_path / "street.jpg")
    lines = [line.split(maxsplit=2)[:2] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert len(lines) == len(expected) > 0
    assert [name for name, _ in lines] == [model.categories[label].name for label in expected.labels]
    given = torch.tensor([float(score) for _, score in lines])
    torch.testing.assert_close(given, expected.scores, atol=0.0051, rtol=0)


def test_it_has_about_twenty_lines():
    body = [line for line in EXAMPLE.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(body) <= 20
