"""Training validates with the evaluators that `eval` uses."""

import csv
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny_detector import TinyDetector

from detkit.engine.evaluators import make_evaluators
from detkit.errors import InputError

TRUST = ("--trust", "tiny_detector")
VOC = {"class_path": "VocEvaluator", "init_args": {"protocol": "voc2007"}}


@pytest.fixture
def trained(recipe, detkit_command):
    """Trains the tiny detector for two epochs; gives the folder of the run."""

    def train(**sections):
        status, said = detkit_command("train", "--config", recipe(**sections), "--trainer.max_epochs=2")
        assert status == 0, said
        return Path("runs/tiny")

    return train


@pytest.fixture
def evaluated(detkit_command):
    """Evaluates the run; gives what is written of it."""

    def evaluate(*argv):
        checkpoint = ("--checkpoint", "runs/tiny", *TRUST)
        status, said = detkit_command("eval", *checkpoint, *argv, "--out", "metrics.json")
        assert status == 0, said
        return json.loads(Path("metrics.json").read_text())

    return evaluate


def header(run: Path) -> set[str]:
    with open(run / "metrics.csv") as file:
        return set(next(csv.reader(file)))


class TestListInARecipe:
    def test_is_what_validates_and_what_eval_computes(self, trained, evaluated):
        run = trained(evaluators=[VOC, "CocoEvaluator"])
        assert {"val/voc2007/mAP", "val/AP"} <= header(run)
        best = torch.load(run / "best.ckpt", weights_only=True)["callbacks"]["RunCheckpoints"]["best"]
        metrics = evaluated()
        assert list(metrics) == ["voc2007", "bbox"]
        assert metrics["voc2007"]["mAP"] == pytest.approx(best)

    @pytest.mark.parametrize(
        ("argv", "names"),
        [
            (("--iou_type", "bbox"), ["bbox"]),
            (("--protocol", "voc2010"), ["voc2010"]),
            (("--protocol", "coco"), ["bbox"]),
            (("--evaluators", "[CocoEvaluator]"), ["bbox"]),
        ],
        ids=lambda value: value[0],
    )
    def test_gives_way_to_the_command_line(self, trained, evaluated, argv, names):
        trained(evaluators=[VOC])
        assert list(evaluated(*argv)) == names

    def test_keeps_its_arguments_and_takes_those_of_the_command_line(self, trained, evaluated):
        strict = {"class_path": "VocEvaluator", "init_args": {"iou_threshold": 1.0}}
        trained(evaluators=[strict, "CocoEvaluator"])
        assert evaluated("--backend", "pycocotools")["voc2010"] == {"mAP": 0.0}

    def test_refuses_an_option_that_none_of_it_has(self, trained, detkit_command):
        trained(evaluators=[VOC])
        status, said = detkit_command("eval", "--checkpoint", "runs/tiny", *TRUST, "--errors")
        assert status == 2
        assert "--errors is for COCO's evaluation: leave it out" in said
        status, said = detkit_command(
            "eval", "--checkpoint", "runs/tiny", *TRUST, "--evaluators=[VocEvaluator]", "--iou_type", "bbox"
        )
        assert status == 2
        assert "--evaluators and --iou_type" in said

    def test_files_of_several_lie_side_by_side(self, trained, evaluated):
        trained(evaluators=["CocoEvaluator", VOC])
        evaluated("--curves", "curves.png", "--save_detections", "found.json")
        assert Path("curves_bbox.png").is_file()
        assert json.loads(Path("found.json").read_text())


class TestOldKeys:
    def test_become_evaluators(self, trained, evaluated, caplog):
        with caplog.at_level(logging.WARNING):
            run = trained(evaluate=["bbox"], keypoint_sigmas=[0.1])
        assert "write evaluators: " in caplog.text
        resolved = yaml.safe_load((run / "config.yaml").read_text())
        assert not {"evaluate", "keypoint_sigmas"} & resolved.keys()
        (evaluator,) = resolved["evaluators"]
        assert evaluator["class_path"] == "detkit.evaluation.CocoEvaluator"
        assert list(evaluated()) == ["bbox"]

    def test_give_way_to_evaluators_unless_they_stand_on_the_command_line(self, trained, recipe, detkit_command):
        assert "val/AP" not in header(trained(evaluate=["bbox"], evaluators=[VOC]))
        argv = ("--evaluate=[bbox]", "--trainer.max_epochs=1", "--overwrite")
        status, said = detkit_command("train", "--config", recipe(evaluators=[VOC]), *argv)
        assert status == 0, said
        assert "val/AP" in header(Path("runs/tiny"))

    def test_give_sigmas_to_the_evaluators_that_take_them(self, trained):
        run = trained(evaluators=[VOC, "CocoEvaluator"], keypoint_sigmas=[0.1, 0.2])
        voc, coco = yaml.safe_load((run / "config.yaml").read_text())["evaluators"]
        assert "keypoint_sigmas" not in voc["init_args"]
        assert coco["init_args"]["keypoint_sigmas"] == [0.1, 0.2]

    def test_of_an_old_checkpoint_are_what_eval_computes(self, trained, evaluated):
        path = trained() / "best.ckpt"
        content = torch.load(path, weights_only=True)
        config = content["detkit"]["config"]
        assert config.pop("evaluators", None) is None
        config.update(evaluate=["bbox"], keypoint_sigmas=None)
        torch.save(content, path)
        assert list(evaluated()) == ["bbox"]


def test_a_file_of_detections_is_evaluated_by_a_list_too(trained, evaluated, detkit_command, shapes_root):
    trained()
    evaluated("--save_detections", "found.json")
    files = ("--annotations", shapes_root / "annotations" / "instances_val.json", "--detections", "found.json")
    written = []
    for argv in (("--protocol", "voc2007"), ("--evaluators", json.dumps([VOC]))):
        status, said = detkit_command("eval", *files, *argv, "--out", "metrics.json", "--per_class")
        assert status == 0, said
        written.append(json.loads(Path("metrics.json").read_text()))
    assert written[0] == written[1]
    assert written[0].keys() == {"voc2007"}
    status, said = detkit_command("eval", *files, "--confusion", "confusion.png")
    assert status == 0, said
    assert Path("confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_headline_that_is_not_computed_is_named(recipe, detkit_command, monkeypatch):
    from detkit.evaluation import CocoEvaluator

    monkeypatch.setattr(CocoEvaluator, "headline", "APP")
    status, said = detkit_command("train", "--config", recipe(), "--trainer.max_epochs=1")
    assert status == 2
    assert "headline of the CocoEvaluator is APP, but it computes AP, " in said


@pytest.mark.parametrize("attribute", ["name", "reads", "headline"])
def test_an_evaluator_that_lacks_an_attribute_is_refused(attribute):
    model = TinyDetector(2)
    evaluator = SimpleNamespace(**{name: "boxes" for name in ("name", "reads", "headline") if name != attribute})
    with pytest.raises(InputError, match=f"SimpleNamespace has no {attribute}: set it on the class"):
        make_evaluators(model, [lambda truth, categories: evaluator], {}, [])
