"""``detkit export``: which file it writes, and what it says of the file's inputs and outputs."""

from pathlib import Path

import pytest
import torch
from narrow_models import MODELS
from tiny_backbone import TinyBackbone

from detkit.backbones import Darknet53
from detkit.engine.cli import main
from detkit.engine.commands.export.checkpoint_export import summary
from detkit.exporting.recording import record
from detkit.models import YOLOv3
from detkit.preprocess import ShortestEdge


@pytest.fixture
def run(tmp_path):
    """A run's folder with a detector that takes images of any size."""
    torch.manual_seed(0)
    YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=ShortestEdge(64, 96)).save(tmp_path / "best.ckpt")
    return tmp_path


def test_the_file_stands_beside_the_checkpoint_and_its_inputs_are_printed(run, capsys):
    assert main(["export", str(run), "--to", "torchscript"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{run / 'best.ts'}: YOLOv3",
        "takes images (batch, 3, height, width), sizes (batch, 2)",
        "gives boxes, scores, labels, count",
    ]
    assert sorted(path.name for path in run.iterdir()) == ["best.ckpt", "best.ts"]


def test_nothing_is_said_of_the_steps_of_the_translation(run, caplog):
    pytest.importorskip("onnxscript", reason="writes ONNX files")
    caplog.set_level("INFO")
    assert main(["export", str(run)]) == 0
    assert (run / "best.onnx").is_file()
    assert [one.getMessage() for one in caplog.records if one.name.startswith("onnx")] == []


def test_a_fixed_size_is_printed_as_numbers(run, capsys):
    out = run / "small.ts"
    assert main(["export", str(run / "best.ckpt"), "--out", str(out), "--size", "[64,96]"]) == 0
    assert "takes images (batch, 3, 64, 96), sizes (batch, 2)" in capsys.readouterr().out
    assert torch.jit.load(out)(torch.rand(1, 3, 64, 96), torch.tensor([[60, 90]]))["boxes"].shape == (1, 100, 4)


def test_the_network_alone_has_the_size_of_its_input(run, capsys):
    assert main(["export", str(run), "--raw", "--size", "[64,96]", "--out", str(run / "raw.ts")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "takes images (batch, 3, 64, 96)",
        "gives output.0, output.1, output.2",
    ]


def test_proposals_are_printed():
    model = MODELS["fast"](TinyBackbone).eval()
    assert summary(Path("m.onnx"), record(model, size=(96, 96))).splitlines()[1] == (
        "takes images (batch, 3, 96, 96), sizes (batch, 2), proposals (batch, proposals, 4)"
    )


def test_a_file_of_another_format_is_refused(run, detkit_command):
    status, said = detkit_command("export", run, "--to", "torchscript", "--out", run / "m.onnx")
    assert status == 2
    assert "m.onnx: the suffix is that of onnx, but the format is torchscript: change one." in said
    assert not (run / "m.onnx").exists()
