"""The verbs of the package: their words, their progress in a notebook, and what a user's mypy makes of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import detkit
from detkit.engine.callbacks.progress import NotebookBar, progress_bar
from detkit.engine.verbs.settings import as_arguments, device_settings
from detkit.engine.verbs.wording import reworded

ROOT = Path(__file__).parents[3]
SCRIPT = """
from pathlib import Path

import detkit
import torch
from detkit.models import (
    Detector, FasterRCNN, MaskRCNN, PanopticFPN, SegmentationModel, VisionModel, with_classes
)
from detkit.structures import Category, Detections
from detkit.weights import (
    from_darknet, from_detectron2, from_torchvision, to_darknet, to_detectron2, to_torchvision
)
from typing_extensions import assert_type

run = detkit.train("faster_rcnn_shapes", data="my/folder", epochs=3, name="mine", device="cpu", seed=3)
assert_type(run, detkit.Run)
assert_type(run.folder, Path)
assert_type(run.model, VisionModel)
assert_type(run.metrics, dict[str, float])
detkit.train({"model": {"class_path": "FCOS"}}, {"root": Path("my/folder")}, optimizer={"lr": 0.1})
detkit.train(FasterRCNN("resnet18", num_classes=3), "my/folder", overwrite=True)
assert_type(detkit.evaluate(run.model, "my/folder", split="test"), dict[str, dict[str, float]])
assert_type(detkit.evaluate("runs/mine", per_class=True)["bbox"]["AP"], float)
for finding in detkit.doctor("faster_rcnn_shapes", "my/folder", skip=["memory"], seed=3):
    assert_type(finding.notes, list[str])
detkit.export(run.model, "mine.onnx")
assert_type(detkit.report("runs/mine", "mine.html", images=3), Path)
assert_type(detkit.compare("runs/mine", Path("runs/other"))["bbox"].better, str | None)
run.model.save("mine.ckpt")
assert_type(detkit.load("mine.ckpt"), VisionModel)
run.model.categories = ["cat", "dog"]
assert_type(run.model.categories, list[Category] | None)
detector = with_classes(from_torchvision("fasterrcnn_resnet50_fpn", weights="DEFAULT"), ["cat", "dog"])
assert_type(detector, Detector)
assert_type(detector.predict("street.jpg", score_threshold=0.5), Detections)
assert_type(detector.predict([Path("a.jpg"), "b.jpg"]), list[Detections])
assert_type(detector.predict("street.jpg")[::-1].boxes.shape, torch.Size)
to_torchvision(detector).build()
to_detectron2(detector)
net = with_classes(from_torchvision("deeplabv3_resnet50", weights="DEFAULT"), ["background", "cat"])
assert_type(net, SegmentationModel)
assert_type(to_torchvision(net).mean, list[float])
assert_type(from_torchvision(input(), weights="DEFAULT"), VisionModel)
assert_type(from_detectron2("panoptic_fpn_R_50_3x", {}), PanopticFPN)
assert_type(from_detectron2("mask_rcnn_R_50_FPN_3x", {}), MaskRCNN)
assert_type(from_detectron2("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", {}), FasterRCNN)
darknet = from_darknet("yolov4.cfg", "yolov4.weights")
darknet.predict("street.jpg")
to_darknet(darknet, "copy")
"""
WRONG = """
import detkit

detkit.train("faster_rcnn_shapes", epochs="three")
detkit.evaluate(3)
detkit.export("runs/mine")
detkit.trian("faster_rcnn_shapes")
"""


def test_the_package_names_its_verbs_without_torch():
    code = "import sys, detkit; print(*sorted({*dir(detkit)} & {*detkit.__all__})); assert 'torch' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    verbs = ["compare", "doctor", "evaluate", "export", "inspect", "load", "report", "train", "verify"]
    assert said.split() == ["Run", "__version__", *verbs]
    with pytest.raises(AttributeError, match="trian"):
        detkit.trian  # noqa: B018


@pytest.mark.slow
def test_a_users_script_is_well_typed(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "right.py").write_text(SCRIPT)
    (tmp_path / "wrong.py").write_text(WRONG)
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, "right.py", "wrong.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": ""}
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment).stdout
    lines = said.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"wrong.py:{number}" for number in (4, 5, 6, 7)], said


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("The command line has no option --epoch; did you mean x?", "There is no setting epoch; did you mean x?"),
        ("command line: trainer.max_epochs must be int.", "trainer.max_epochs must be int."),
        ("continue it with --resume runs/a.b, choose", 'continue it with resume="runs/a.b", choose'),
        ("or replace it with --overwrite.", "or replace it with overwrite=True."),
        ("raise --trainer.max_epochs to train on", "raise trainer.max_epochs to train on"),
        ("a - b -- c", "a - b -- c"),
    ],
)
def test_sentences_name_arguments_of_a_call(sentence, words):
    assert reworded(sentence) == words


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"seed": 1, "compile": False, "name": "3"}, ["--seed=1", "--compile=false", "--name=3"]),
        ({"data": {"root": Path("a"), "reads": ["x"]}}, ["--data.root=a", '--data.reads=["x"]']),
        ({"a": 1e-05, "b": float("inf"), "c": 2.5e-07}, ["--a=1.0e-05", "--b=.inf", "--c=2.5e-07"]),
        ({"schedule": None, "overwrite": True}, ["--schedule=null", "--overwrite"]),
        ({"overwrite": False}, []),
        ({"lr_factors": {"backbone": 0.1}}, ['--lr_factors={"backbone": 0.1}']),
        (device_settings("cuda:1"), ["--trainer.accelerator=gpu", "--trainer.devices=[1]"]),
        (device_settings(0), ["--trainer.accelerator=gpu", "--trainer.devices=[0]"]),
        (device_settings("cpu"), ["--trainer.accelerator=cpu", "--trainer.devices=1"]),
        (device_settings(None), []),
    ],
)
def test_settings_are_those_of_a_command_line(settings, arguments):
    assert as_arguments(settings) == arguments


def test_a_notebook_has_a_bar():
    assert isinstance(progress_bar(Console(force_jupyter=True)), NotebookBar)
    assert progress_bar(Console(force_jupyter=False, force_terminal=False)) is None
