"""``detkit recipes``: a table, a filter, one recipe, JSON."""

import json

import pytest

from detkit.engine.cli import main
from detkit.recipes import recipe_files, recipe_names

FASTER = "faster_rcnn_resnet50_fpn_coco"
ZOO = {
    FASTER: {
        "task": "detection",
        "model": "FasterRCNN",
        "backbone": "resnet50",
        "input": "800-1333",
        "parameters": 41755286,
        "classes": 91,
        "macs": 134380000000,
        "published": {"metric": "box AP", "value": 37.0, "data": "COCO val2017", "source": "torchvision"},
        "own": {"metric": "box AP", "value": 36.9, "data": "COCO val2017", "interval": [36.1, 37.7], "time": "9 h"},
        "inference": {"seconds": 2.8, "peer": "torchvision", "peer_seconds": 4.2, "machine": "two threads"},
        "weights": ["torchvision:fasterrcnn_resnet50_fpn"],
        "weights_license": "BSD-3-Clause",
    },
    "resnet50_imagenet": {"task": "classification", "backbone": "resnet50", "parameters": 25557032},
}


@pytest.fixture
def recipes(tmp_path, monkeypatch, capsys):
    """Runs ``detkit recipes`` in an installation with three recipes, of which one has no facts."""
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in (*ZOO, "ssd_shapes"):
        (configs / f"{name}.yaml").write_text("seed: 0\n")
    (configs / "zoo.json").write_text(json.dumps(ZOO))
    monkeypatch.setattr(recipe_files, "_PACKAGE", tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        status = main(["recipes", *argv])
        return status, *capsys.readouterr()

    return run


def test_the_table(recipes):
    status, out, _ = recipes()
    rows = [line.split("  ") for line in out.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert status == 0
    assert cells == [
        ["name", "task", "backbone", "input", "parameters", "published", "weights"],
        [FASTER, "detection", "resnet50", "800-1333", "41.8 M", "box AP 37.0", "torchvision:fasterrcnn_resnet50_fpn"],
        ["resnet50_imagenet", "classification", "resnet50", "-", "25.6 M", "-", "-"],
        ["ssd_shapes", "-", "-", "-", "-", "-", "-"],
    ]


def test_recipes_of_one_task(recipes):
    _, out, _ = recipes("--task", "classification")
    assert [line.split()[0] for line in out.splitlines()] == ["name", "resnet50_imagenet"]
    status, out, said = recipes("--task", "dancing")
    assert (status, out) == (2, "")
    assert said == "detkit: --task dancing: there is no such recipe; the tasks are: classification, detection.\n"


def test_one_recipe(recipes, tmp_path):
    _, out, _ = recipes("faster_rcnn_resnet50_fpn_coco")
    assert out.splitlines()[0] == "faster_rcnn_resnet50_fpn_coco"
    shown = dict(line.strip().split("  ", 1) for line in out.splitlines()[1:])
    assert {key: value.strip() for key, value in shown.items()} == {
        "file": str(tmp_path / "configs" / "faster_rcnn_resnet50_fpn_coco.yaml"),
        "task": "detection",
        "model": "FasterRCNN",
        "backbone": "resnet50",
        "input": "800-1333",
        "parameters": "41,755,286 with 91 classes",
        "multiply-adds": "134.4 G",
        "published": "box AP 37.0 on COCO val2017 (torchvision)",
        "own result": "box AP 36.9 [36.1, 37.7] on COCO val2017 (9 h)",
        "inference": "2.8 s an image, torchvision 4.2 s (two threads)",
        "weights": "torchvision:fasterrcnn_resnet50_fpn",
        "license of weights": "BSD-3-Clause",
        "train": "detkit train faster_rcnn_resnet50_fpn_coco",
    }


def test_json_holds_all_facts(recipes):
    found = json.loads(recipes("--json")[1])
    assert list(found) == [*ZOO, "ssd_shapes"]
    assert found["faster_rcnn_resnet50_fpn_coco"].items() >= ZOO["faster_rcnn_resnet50_fpn_coco"].items()
    assert json.loads(recipes("ssd_shapes", "--json")[1])["ssd_shapes"]["task"] is None


def test_wrong_names(recipes, tmp_path):
    status, _, said = recipes("ssd_shape")
    assert status == 2
    assert said.startswith("detkit: There is no recipe ssd_shape; did you mean ssd_shapes?")
    (tmp_path / "mine.yaml").touch()
    assert "mine.yaml is a file of your own" in recipes("mine.yaml")[2]


def test_the_recipes_of_this_checkout_are_listed(capsys):
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == recipe_names()
