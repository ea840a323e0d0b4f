"""Whatever is wrong with a config or a command line is said in one sentence, with the key and similar names."""

import pytest
import yaml
from recipes import FASTER_RCNN

from detkit.engine.cli import main

COMMAND_LINE = [
    (["--data.rooot", "x"], ["--data.rooot", "data.root"]),
    (["--trainer.max_epoch", "3"], ["--trainer.max_epoch", "trainer.max_epochs"]),
    (["--trainer.max_epochs", "many"], ["trainer.max_epochs must be int", "not many"]),
    (["--model.regions_per_imag", "3"], ["model (FasterRCNN)", "regions_per_imag", "regions_per_image"]),
    (["--model.regions_per_image", "x"], ["model.regions_per_image must be int", "not x"]),
    (["--model.backbone.nam", "x"], ["model.backbone (TimmBackbone)", "nam", "name"]),
    (["--model.rpn.foregound_iou", "1"], ["model.rpn (RPN)", "foregound_iou", "foreground_iou"]),
    (["--model.rpn.foreground_iou", "high"], ["model.rpn.foreground_iou must be float", "not high"]),
    (["--model.rpn.postprocess.iou_treshold", "1"], ["model.rpn.postprocess (NMS)", "iou_treshold", "iou_threshold"]),
    (["--model.rpn.nms_treshold", "1"], ["model.rpn (RPN)", "nms_treshold"]),
    (["--model.backbone", "TimBackbone"], ["the backbone 'TimBackbone'", "TimmBackbone"]),
    (["--model", "FasterRCN"], ["model cannot be FasterRCN", "FasterRCNN"]),
    (["--model.backbone.name", "test_resnett"], ["test_resnett"]),
    (["--model.num_classes", "3"], ["num_classes", "taken from the data"]),
    (["--optimizer.lrr", "1"], ["optimizer (SGD)", "lrr", "did you mean lr"]),
    (["--optimizer.init_args.lrr", "1"], ["command line: optimizer (SGD)", "did you mean lr?"]),
    (["--data.augmentation", "{class_path: Mosaic}"], ["data.augmentation cannot be Mosaic", "put it in data.mixing"]),
    (["--data.augmentation", "{class_path: Augmentatoin}"], ["did you mean Augmentation"]),
    (["--optimizer", "SDG"], ["optimizer cannot be SDG", "SGD"]),
    (["--schedule", "WarmupCosin"], ["schedule cannot be WarmupCosin", "WarmupCosine"]),
    (["--ema", "high"], ["ema must be float or null", "not high"]),
    (["--ema", "2"], ["ema", "between 0 and 1", "2"]),
    (["--evaluate", "[box]"], ["evaluate", "bbox"]),
    (["--evaluators", "[CocoEvaluatr]"], ["evaluators cannot be CocoEvaluatr", "did you mean CocoEvaluator"]),
    (["--evaluators", "[nowhere.Mine]"], ["evaluators", "no module nowhere", "PYTHONPATH"]),
    (
        ["--evaluators", "[toy_learners.Forgetfull]"],
        ["evaluators", "no Forgetfull in toy_learners", "did you mean Forgetful"],
    ),
    (["--data.dataset", "{class_path: detkit.dato.Mine}"], ["data.dataset", "no dato in detkit", "did you mean data"]),
    (
        ["--data.dataset", "{class_path: untyped_dataset.Untyped, init_args: {root: x}}"],
        ["data.dataset", "argument root of untyped_dataset.Untyped has no type", "root: str"],
    ),
    (["--evaluators", "[detkit.models.FCOS]"], ["evaluators cannot be detkit.models.FCOS, which is no Evaluator"]),
    (["--evaluators", "[{class_path: VocEvaluator, init_args: {iou: 1}}]"], ["VocEvaluator", "iou", "iou_threshold"]),
    (["--evaluators", "[CocoEvaluator, CocoEvaluator]"], ["two are called bbox"]),
    (["--evaluators", "[ProposalRecall]"], ["ProposalRecall reads proposals", "FasterRCNN hold boxes"]),
    (["--data.on_bad_box", "skp"], ["data.on_bad_box must be one of 'error', 'skip'", "did you mean skip"]),
    (["--data.format", "label_maps"], ["data.format must be one of", "; did you mean labelme?"]),
    (["--data.root", "nowhere"], ["nowhere"]),
    (["--trainer.accelerator", "tpuu"], ["tpuu"]),
    (["--start_from", "nowhere.ckpt"], ["nowhere.ckpt does not exist"]),
    (["stray"], ["stray"]),
    (["--model"], ["--model", "expected one argument"]),
]


@pytest.mark.parametrize(("argv", "words"), COMMAND_LINE, ids=lambda value: " ".join(value))
def test_command_line(recipe, detkit_command, argv, words):
    status, said = detkit_command("train", "--config", recipe("rcnn", model=FASTER_RCNN), *argv)
    assert_sentence(status, said, words)


FILES = [
    ({"modell": 3}, ["b.yaml", "no option modell", "model"]),
    ({"trainer": {"max_epocs": 3}}, ["b.yaml", "trainer.max_epocs", "trainer.max_epochs"]),
    ({"data": {"shapes": {"countss": 3}}}, ["b.yaml", "data.shapes.countss", "data.shapes.counts"]),
    ({"data": {"num_workers": "x"}}, ["b.yaml", "data.num_workers must be int", "x"]),
    ({"model": {"class_path": "nopackage.Net"}}, ["b.yaml", "nopackage", "PYTHONPATH"]),
    ({"model": {"class_path": "FasterRCNN"}}, ["b.yaml", "model.backbone of FasterRCNN must be given"]),
    ({"model": {"class_path": "FasterRCNN", "init_arg": {"a": 1}}}, ["b.yaml", "init_arg", "init_args"]),
]


@pytest.mark.parametrize(("change", "words"), FILES, ids=lambda value: next(iter(value)) if value else "")
def test_config_file(recipe, detkit_command, change, words):
    status, said = detkit_command("train", "--config", recipe("b", **change))
    assert_sentence(status, said, words)


@pytest.mark.parametrize(
    "text", ["", "hello", "- 3", "a: b: c", "\tdata: 3"], ids=["empty", "word", "list", "not yaml", "tab"]
)
def test_files_that_are_no_configs(tmp_path, monkeypatch, detkit_command, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").write_text(text)
    status, said = detkit_command("train", "--config", "b.yaml")
    assert_sentence(status, said, ["b.yaml"])


def test_no_config_at_all(tmp_path, monkeypatch, detkit_command):
    monkeypatch.chdir(tmp_path)
    assert_sentence(*detkit_command("train"), ["recipe"])
    assert_sentence(*detkit_command("train", "--config", "none.yaml"), ["none.yaml does not exist"])


def test_a_file_of_a_part_that_is_wrong(tmp_path, monkeypatch, recipe, detkit_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "part.yaml").write_text("class_path: FasterRCNN\ninit_args: {a: 1, a: 2}\n")
    said = detkit_command("train", "--config", recipe(), "--model", "part.yaml")
    assert_sentence(*said, ["command line: model: part.yaml: this is not YAML (the key 'a' is there twice in line 2)"])


def test_help_and_commands(detkit_command):
    assert detkit_command("--help")[0] == 0
    status, said = detkit_command("trian")
    assert status == 2
    assert "There is no command trian; did you mean train?" in said


def test_print_config_is_a_config(recipe, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--config", recipe("rcnn", model=FASTER_RCNN), "--print_config"])
    assert end.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["rpn"]["init_args"]["foreground_iou"] == 0.7
    assert printed["trainer"]["max_epochs"] == 2
    # The recipe says 20 and 20, the rest is the head's own.
    assert printed["model"]["init_args"]["rpn"]["init_args"]["postprocess"]["init_args"] == {
        "score_threshold": 0.0, "iou_threshold": 0.7, "candidates": 20, "detections": 20
    }  # fmt: skip


def assert_sentence(status: int, said: str, words: list[str]) -> None:
    assert status == 2
    assert said.startswith("detkit: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    missing = [word for word in words if word not in said]
    assert not missing, said
