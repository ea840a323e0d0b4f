"""A stranger's evaluator and task, as the how-to pages have them, in a package outside of detkit."""

import csv
import json
import sys
from pathlib import Path

import pytest
from extend_pages import files_of, write_files

TRUST = ("--trust", "my_package")
EVALUATOR, TASK = "my_package.counting.CountError", "my_package.counter.Counter"


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    root = tmp_path_factory.mktemp("stranger")
    write_files(root, "evaluator.md", "task.md")
    sys.path.insert(0, str(root))
    yield
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def logged(run: Path, name: str) -> list[float]:
    with open(run / "metrics.csv") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


class TestEvaluator:
    def test_chooses_the_best_epoch_and_is_what_eval_reports(self, recipe, detkit_command):
        evaluators = [{"class_path": EVALUATOR, "init_args": {"score": 0.52}}, "CocoEvaluator"]
        config = recipe(evaluators=evaluators, optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}})
        status, said = detkit_command("train", "--config", config, "--trainer.max_epochs=4")
        assert status == 0, said
        run = Path("runs/tiny")
        errors = logged(run, "val/count/error")
        assert len(errors) == len(logged(run, "val/AP")) == 4

        out = ("--out", "metrics.json")
        status, said = detkit_command(
            "eval", "--checkpoint", run / "best.ckpt", "--trust", "tiny_detector", *TRUST, *out
        )
        assert status == 0, said
        metrics = json.loads(Path("metrics.json").read_text())
        assert list(metrics) == ["count", "bbox"]
        assert metrics["count"] == {"error": pytest.approx(min(errors))}

    def test_the_lowest_number_is_the_best(self, recipe, detkit_command, monkeypatch):
        from my_package.counting import CountError

        numbers = iter([3.0, 1.0, 2.0])
        monkeypatch.setattr(CountError, "compute", lambda self: {"error": next(numbers)})
        status, said = detkit_command(
            "train", "--config", recipe(evaluators=[EVALUATOR]), "--trainer.max_epochs=3",
            "--trainer.num_sanity_val_steps=0",
        )  # fmt: skip
        assert status == 0, said
        import torch

        assert torch.load("runs/tiny/best.ckpt", weights_only=True)["epoch"] == 1

    def test_of_a_checkpoint_is_not_imported_unless_it_is_trusted(self, recipe, detkit_command):
        status, said = detkit_command("train", "--config", recipe(evaluators=[EVALUATOR]), "--trainer.max_epochs=1")
        assert status == 0, said
        command = ("eval", "--checkpoint", "runs/tiny", "--trust", "tiny_detector")
        status, said = detkit_command(*command)
        assert status == 2
        assert "--trust my_package" in said
        status, said = detkit_command(*command, "--iou_type", "bbox")
        assert status == 0, said
        status, said = detkit_command(*command, "--evaluators", f"[{EVALUATOR}]", "--out", "metrics.json")
        assert status == 0, said
        assert list(json.loads(Path("metrics.json").read_text())) == ["count"]


class TestTask:
    def test_trains_evaluates_and_predicts(self, recipe, detkit_command, shapes_root):
        config = recipe("counter", model={"class_path": TASK}, pictures=2)
        status, said = detkit_command("train", "--config", config, "--trainer.max_epochs=3")
        assert status == 0, said
        run = Path("runs/counter")
        assert (run / "pictures" / "epoch_003.png").is_file()
        errors = logged(run, "val/count/error")

        command = ("eval", "--checkpoint", run / "best.ckpt", *TRUST, "--out", "metrics.json")
        status, said = detkit_command(*command)
        assert status == 0, said
        assert json.loads(Path("metrics.json").read_text()) == {"count": {"error": pytest.approx(min(errors))}}

        images = shapes_root / "images" / "val"
        status, said = detkit_command("predict", "--checkpoint", run, *TRUST, images, "--out", "counted")
        assert status == 0, said
        entries = json.loads(Path("counted/counts.json").read_text())
        assert [entry.keys() for entry in entries] == [{"file_name", "image_id", "count"}] * len(entries)
        assert len(list(Path("counted").glob("*.*"))) == len(entries) + 1

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["--iou_type", "bbox"], ["--iou_type names bbox", "Counter"]),
            (["--evaluators", "[CocoEvaluator]"], ["CocoEvaluator reads boxes", "number"]),
            (["--errors"], ["--errors", "Counter"]),
            (["--save_detections", "found.json"], ["--save_detections", "Counter"]),
        ],
        ids=lambda value: value[0],
    )
    def test_refuses_what_its_answers_do_not_hold(self, recipe, detkit_command, argv, words):
        status, said = detkit_command(
            "train", "--config", recipe("counter", model={"class_path": TASK}), "--trainer.max_epochs=1"
        )
        assert status == 0, said
        status, said = detkit_command("eval", "--checkpoint", "runs/counter", *TRUST, *argv)
        assert status == 2
        assert not [word for word in words if word not in said], said
        assert said.count("\n") == 1

    def test_the_recipe_of_the_page_is_read(self, detkit_command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("counter.yaml").write_text(files_of("task.md")["counter.yaml"])
        small = ("--data.shapes.counts={train: 8, val: 4, test: 4}", "--data.num_workers=0", "--trainer.max_epochs=1")
        status, said = detkit_command("train", "--config", "counter.yaml", *small, "--trainer.accelerator=cpu")
        assert status == 0, said
        assert logged(Path("runs/counter"), "val/count/error")

    def test_is_not_what_visualize_explains(self, recipe, detkit_command, shapes_root):
        status, said = detkit_command(
            "train", "--config", recipe("counter", model={"class_path": TASK}), "--trainer.max_epochs=1"
        )
        assert status == 0, said
        image = min((shapes_root / "images" / "val").iterdir())
        status, said = detkit_command("visualize", "--checkpoint", "runs/counter", *TRUST, image)
        assert status == 2
        assert "The answers of a Counter cannot be visualized" in said
