"""Every example of a ``--help`` text runs as it stands, in a folder where its paths lead to small files."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
import torchvision

import detkit.engine.commands
from detkit.data import ShapesOptions, draw_shapes
from detkit.data.conversion import convert
from detkit.engine import cli
from detkit.engine.checkpoint import build_model, read_checkpoint, save_model, write_checkpoint
from detkit.engine.commands.fit_anchors import anchors_command
from detkit.exporting.export_file import export_file
from detkit.structures import Category

ROOT = Path(__file__).parents[3]
CLASSES = ["disc", "box", "triangle", "ring", "star"]
COUNTS = {"train": 4, "val": 2, "test": 2}

COMMANDS = {
    "detkit train": cli.train,
    "detkit eval": cli.evaluate,
    "detkit compare": cli.compare,
    "detkit doctor": cli.doctor,
    "detkit inspect": cli.inspect,
    "detkit predict": cli.predict,
    "detkit report": cli.report,
    "detkit serve": cli.serve,
    "detkit visualize": cli.visualize,
    "detkit convert": cli.convert,
    "detkit license": cli.show_license,
    "detkit anchors": cli.anchors,
    "detkit export": cli.export,
    "detkit verify": cli.verify,
    "detkit recipes": cli.recipes,
    "python tools/anchors.py": anchors_command,
    "python tools/fit_svms.py": cli.fit_svms,
    "python tools/proposals.py": cli.proposals,
}

_SMALL = (
    f"--data.shapes.counts='{json.dumps(COUNTS)}' --data.num_workers=0 --data.batch_size=2 --trainer.accelerator=cpu "
    "--trainer.limit_val_batches=1 --trainer.check_val_every_n_epoch=1 --trainer.num_sanity_val_steps=0"
)
FURTHER = {
    "detkit train --config": f"{_SMALL} --trainer.max_epochs=1",
    "detkit train faster_rcnn_shapes": f"{_SMALL} --trainer.max_epochs=1",
    "detkit train --resume": f"{_SMALL} --trainer.max_epochs=2",
    "detkit eval --checkpoint": "--device=cpu",
    "detkit compare runs": "--device=cpu --bootstrap=20",
    "detkit doctor": f"{_SMALL} --images=2 --skip=overfit --skip=memory",
    "detkit predict": "--device=cpu",
    "detkit report": "--device=cpu --bootstrap=5",
    "detkit serve": "--device=cpu",
    "detkit verify": "--bootstrap=20 --data.num_workers=0",
    "detkit visualize": "--device=cpu --square=112 --step=112",
    "python tools/proposals.py": "--search.width=64",
}
"""What is added to the examples that begin so, for less time; nothing of an example is left out."""

CLASSIFIER = {
    "class_path": "detkit.models.Classifier",
    "init_args": {"net": "test_resnet", "num_classes": 2, "preprocess": {"class_path": "CenterCrop"}},
}
MY_PACKAGE = """
from detkit.evaluation import CocoEvaluator

class MyEvaluator(CocoEvaluator):
    def __init__(self, annotations, **options):
        super().__init__(annotations, **options)
        self.name = "mine"
"""


def modules() -> list[ModuleType]:
    """The modules of the commands that have a parser."""
    package = detkit.engine.commands
    named = [
        importlib.import_module(f"{package.__name__}.{one.name}") for one in pkgutil.iter_modules(package.__path__)
    ]
    return [module for module in named if hasattr(module, "DESCRIPTION")]


def examples(text: str) -> list[str]:
    """The lines under "example:" or "examples:"."""
    (block,) = re.findall(r"^examples?:\n((?:  .+(?:\n|$))+)", text, re.MULTILINE)
    return [line.strip() for line in block.splitlines()]


EXAMPLES = [line for module in modules() for line in examples(module.DESCRIPTION)]


def matching(line: str, table: dict) -> str | None:
    return next((start for start in table if f"{line} ".startswith(f"{start} ")), None)


def image(path: str, size: tuple[int, int] = (120, 160)) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(path, np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a file or folder for each path that an example names."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setattr(sys, "argv", ["detkit"])
        torch.manual_seed(0)
        (folder / "configs").symlink_to(ROOT / "configs")
        (folder / "my_package.py").write_text(MY_PACKAGE)
        data()
        inputs()
        checkpoints()
        yield folder
        sys.modules.pop("my_package", None)


def data() -> None:
    """Small data sets, one in each format."""
    options = ShapesOptions(counts=COUNTS | {"train": 8}, image_size=(48, 64), max_objects=3, names=CLASSES)
    shapes = draw_shapes(Path("my/folder"), options)
    shutil.copytree(shapes, "my/coco")
    shutil.copytree(shapes / "annotations", "my/annotations")
    convert(shapes, "VOCdevkit/VOC2007", "voc")
    convert(shapes, "my/labelme", "labelme")
    splits = Path("VOCdevkit/VOC2007/ImageSets/Main")
    (splits / "trainval.txt").write_text((splits / "train.txt").read_text() + (splits / "val.txt").read_text())
    convert(shapes, "yolo", "yolo")
    for path in Path("yolo").iterdir():
        shutil.move(path, Path("my") / path.name)
    truth = json.loads((shapes / "annotations" / "instances_val.json").read_text())
    Path("ground_truth.json").write_text(json.dumps(truth))
    keys = ("image_id", "category_id", "bbox", "segmentation")
    sizes = {one["id"]: [one["height"], one["width"]] for one in truth["images"]}
    detections = [{key: one[key] for key in keys} | {"score": 0.9} for one in truth["annotations"]]
    for one in detections:
        if isinstance(one["segmentation"], list):
            one["segmentation"] = compressed(one["segmentation"], sizes[one["image_id"]])
    for name in ("detections.json", "other.json"):
        Path(name).write_text(json.dumps(detections))


def compressed(polygons: list, size: list[int]) -> dict:
    from pycocotools import mask

    rle = mask.merge(mask.frPyObjects(polygons, *size))
    return {"size": size, "counts": rle["counts"].decode()}


def inputs() -> None:
    """Images, a video, weights of a classification network."""
    for path in ("street.jpg", "photos/a.png", "more/b.png", "dog.jpg"):
        image(path)
    writer = cv2.VideoWriter("walk.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    torch.save(torchvision.models.squeezenet1_1().state_dict(), "squeezenet1_1.pth")


def checkpoints() -> None:
    """Runs of recipes that the examples name; the detector detects something, whatever the image."""
    for name in ("faster_rcnn_shapes", "rcnn_shapes"):
        assert cli.run(cli.train, shlex.split(f"--config configs/{name}.yaml {_SMALL} --trainer.max_epochs=1")) == 0
    best = Path("runs/faster_rcnn_shapes/best.ckpt")
    content = read_checkpoint(best)
    for weights in (content["state_dict"], content["ema"]):
        (bias,) = [name for name in weights if name.endswith("box_head.classes.bias")]
        weights[bias][0] = 9.0
    write_checkpoint(content, best)
    Path("runs/voc").mkdir()
    shutil.copy(best, "runs/voc/best.ckpt")
    Path("runs/mine").mkdir()
    for name in ("best.ckpt", "last.ckpt"):
        shutil.copy(best, f"runs/mine/{name}")
    model = build_model(CLASSIFIER, (), "")
    model.categories = [Category(index, name) for index, name in enumerate(("cat", "dog"))]
    save_model(model, CLASSIFIER, "runs/imagenet/best.ckpt")
    if find_spec("onnxscript") is not None:
        for name in ("classes.onnx", "classes.pt2"):
            export_file(model.eval(), Path(name))
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            image(f"imagenet/{split}/{name}/{name}.png")


@pytest.mark.parametrize("line", EXAMPLES)
def test_runs(place, line, monkeypatch, capfd):
    monkeypatch.chdir(place)
    command = matching(line, COMMANDS)
    assert command, f"no command of a fresh checkout: {line}"
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)  # which ends by a signal alone
    if "verify" in command:
        pytest.importorskip("onnxscript", reason="ONNX needs onnxscript: pip install detkit[onnx]")
    if "fit_svms" in command and not scikit_learn():
        monkeypatch.setattr("detkit.engine.commands.fit_svms.fit_svms", lambda model, samples: list(samples()))
    further = FURTHER.get(matching(line, FURTHER) or "", "") + (
        " --overwrite" if re.search("train (--config|faster)", line) else ""
    )
    before = (place / "runs/faster_rcnn_shapes/best.ckpt").read_bytes()
    status = cli.run(COMMANDS[command], shlex.split(f"{line.removeprefix(command)} {further}"))
    (place / "runs/faster_rcnn_shapes/best.ckpt").write_bytes(before)
    assert status == 0, capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_are_in_the_help_text(command, capsys):
    with pytest.raises(SystemExit):
        COMMANDS[command](["--help"])
    shown = capsys.readouterr().out
    assert shown.split()[1] in (command.split()[0], "anchors.py", "tools/anchors.py") or command in shown
    own = [line for line in EXAMPLES if matching(line, {command: None})]
    assert own
    assert examples(shown) == own


def test_name_paths_of_the_repository_that_exist():
    words = [word for line in EXAMPLES for word in shlex.split(line) if word.startswith(("configs/", "tools/"))]
    assert words
    assert not [word for word in words if not (ROOT / word).is_file()]


def test_of_the_overview_are_commands(capsys):
    assert cli.main(["--help"]) == 0
    named = re.findall(r"^  (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert {f"detkit {name}" for name in named} <= set(COMMANDS)


def test_of_all_tools_with_examples_are_here():
    tools = {path.name for path in (ROOT / "tools").glob("*.py") if re.search(r"^examples?:$", path.read_text(), re.M)}
    assert not tools, "add their examples to EXAMPLES"


def scikit_learn() -> bool:
    try:
        importlib.import_module("sklearn")
    except ModuleNotFoundError:
        return False
    return True
