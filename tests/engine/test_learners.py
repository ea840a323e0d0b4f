"""Learners of all kinds, named by import path and trained by the command."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import torch
from test_resume import assert_same, in_step, stopped, terminate
from torch import nn

import detkit
from detkit.engine.checkpoint import read_checkpoint

DOCS = Path(__file__).resolve().parents[2] / "docs" / "learners.md"
GAN = {
    "class_path": "toy_learners.TakesTurns",
    "init_args": {"optimizer": {"class_path": "Adam", "init_args": {"lr": 0.01}}},
}


def block(language: str, words: str) -> str:
    """The page's block of `language` that contains `words`."""
    (result,) = [text for text in re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL) if words in text]
    return result


def rows(folder: str | Path) -> list[dict[str, str]]:
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def sources(shapes_root):
    return {
        "sources": [
            {"name": "other", "root": str(shapes_root / "images" / "test"), "labels": False, "batch_size": 3},
        ]
    }


def run(detkit_command, *argv: str) -> None:
    status, said = detkit_command("train", *argv)
    assert status == 0, said


def assert_goes_on(monkeypatch, detkit_command, path: str, step: int) -> None:
    """A run that a signal stops at `step` and that is resumed equals the one that nothing stopped."""
    run(detkit_command, "--config", path, "--name", "unbroken")
    what = in_step(step, terminate)
    stopped(monkeypatch, detkit_command, what, "train", "--config", path, "--name", "broken")
    assert read_checkpoint("runs/broken/last.ckpt")["global_step"] == step + 1
    run(detkit_command, "--resume", "runs/broken")
    assert_same(Path("runs/broken"), Path("runs/unbroken"))
    one, other = (read_checkpoint(f"runs/{name}/last.ckpt")["optimizer_states"] for name in ("broken", "unbroken"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


class TestTheTeacherOfTheDocs:
    @pytest.fixture
    def path(self, recipe, detkit_command, tmp_path, monkeypatch) -> str:
        package = tmp_path / "my_learners"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "distillation.py").write_text(block("python", "class PseudoLabels"))
        monkeypatch.syspath_prepend(tmp_path)
        run(
            detkit_command,
            "--config",
            recipe(model={"class_path": "tiny_detector.TinyDetector", "init_args": {"width": 12}}),
            "--name",
            "large",
        )
        learner = block("yaml", "distillation.PseudoLabels").replace("0.3", "0.0")
        learner = learner.replace("runs/large", "runs/large, trust: [tiny_detector]")
        written = Path(recipe("student", ema=0.9, trainer={"max_epochs": 3}))
        written.write_text(written.read_text() + learner)
        return str(written)

    def test_goes_on_bit_for_bit(self, path, monkeypatch, detkit_command):
        assert_goes_on(monkeypatch, detkit_command, path, step=8)

    def test_the_teacher_stays_and_the_student_is_loaded_alone(self, path, detkit_command):
        run(detkit_command, "--config", path)
        content = read_checkpoint("runs/student/last.ckpt")
        teacher = read_checkpoint("runs/large/best.ckpt")["state_dict"]
        held = {name: value for name, value in content["state_dict"].items() if name.startswith("learner.teacher.")}
        assert held.keys() == {name.replace("model.", "learner.teacher.") for name in teacher}
        assert all(
            torch.equal(value, teacher[name.replace("learner.teacher.", "model.")]) for name, value in held.items()
        )
        assert not any(name.startswith("learner.") for name in content["ema"])
        assert detkit.load("runs/student", trust=["tiny_detector"]).trunk[0].out_channels == 8

    def test_the_student_becomes_like_the_teacher(self, path, detkit_command):
        run(detkit_command, "--config", path)
        losses = [float(row["train/loss"]) for row in rows("runs/student") if row["train/loss"]]
        assert sum(losses[-3:]) < sum(losses[:3])

    def test_groups_are_logged_with_their_sum(self, path, detkit_command):
        run(detkit_command, "--config", path, "--trainer.max_epochs", "1")
        row = rows("runs/student")[0]
        parts = float(row["train/pseudo.cls"]) + float(row["train/pseudo.box"])
        assert float(row["train/pseudo"]) == pytest.approx(parts)
        assert float(row["train/loss"]) == pytest.approx(parts)


def test_the_phases_of_the_docs():
    names = {"nn": nn}
    exec(block("python", "def phases"), names)
    learner = names["Adversarial"](nn.Linear(1, 1), torch.optim.Adam)
    learner.discriminator_losses = learner.generator_losses = learner.losses
    first, second = learner.phases(nn.Linear(1, 1))
    assert (first.name, first.optimizer, second.name, second.optimizer) == (
        "discriminator",
        torch.optim.Adam,
        "generator",
        None,
    )


class TestTwoOptimizers:
    @pytest.fixture
    def path(self, recipe) -> str:
        schedule = {"class_path": "WarmupCosine", "init_args": {"warmup_steps": 3}}
        return recipe("gan", learner=GAN, schedule=schedule, ema=0.9, trainer={"max_epochs": 3})

    def test_go_on_bit_for_bit(self, path, monkeypatch, detkit_command):
        assert_goes_on(monkeypatch, detkit_command, path, step=8)

    def test_a_step_of_both_counts_once_and_both_learn(self, path, detkit_command):
        run(detkit_command, "--config", path)
        content = read_checkpoint("runs/gan/last.ckpt")
        assert content["global_step"] == 18
        adam, sgd = content["optimizer_states"]
        assert {int(state["step"]) for state in adam["state"].values()} == {18}
        assert "momentum_buffer" in sgd["state"][0]
        assert [scheduler["last_epoch"] for scheduler in content["lr_schedulers"]] == [18, 18]
        row = rows("runs/gan")[0]
        both = float(row["train/generator"]) + float(row["train/discriminator"])
        assert float(row["train/loss"]) == pytest.approx(both)
        assert {"train/discriminator.made", "train/generator.cls", "train/generator.adversarial"} <= row.keys()

    def test_bfloat16(self, path, detkit_command):
        run(detkit_command, "--config", path, "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1")

    @pytest.mark.parametrize(("option", "value"), [("gradient_clip_val", "1.0"), ("accumulate_grad_batches", "2")])
    def test_refuse_what_they_cannot(self, path, detkit_command, option, value):
        status, said = detkit_command("train", "--config", path, f"--trainer.{option}", value)
        assert status == 2
        assert f"trainer.{option} is {value}, but TakesTurns has several optimizers" in said

    def test_refuse_processes_that_wait_for_gradients(self, path, detkit_command):
        options = ("--trainer.strategy", "ddp", "--trainer.devices", "2")
        status, said = detkit_command("train", "--config", path, *options)
        assert status == 2
        assert "ddp_find_unused_parameters_true" in said

    def test_every_parameter_has_its_turn(self, recipe, detkit_command):
        path = recipe(learner={"class_path": "toy_learners.Forgetful"})
        status, said = detkit_command("train", "--config", path)
        assert status == 2
        assert "Forgetful has no phase that trains trunk.0.weight (10 such parameters)" in said


def test_images_that_the_learner_makes_worse(recipe, detkit_command):
    run(detkit_command, "--config", recipe(learner={"class_path": "toy_learners.AdversarialTraining"}))
    assert float(rows("runs/tiny")[0]["train/adversarial.cls"]) > 0


class TestSources:
    def test_without_labels_go_on_bit_for_bit(self, recipe, sources, monkeypatch, detkit_command):
        learner = {"class_path": "toy_learners.DomainAdaptation"}
        path = recipe("domains", learner=learner, data=sources, ema=0.9, trainer={"max_epochs": 3})
        assert_goes_on(monkeypatch, detkit_command, path, step=8)

    def test_with_labels(self, recipe, shapes_root, detkit_command):
        data = {"sources": [{"name": "labeled", "root": str(shapes_root), "split": "val"}]}
        run(detkit_command, "--config", recipe(learner={"class_path": "toy_learners.Semisupervised"}, data=data))
        assert float(rows("runs/tiny")[0]["train/labeled.cls"]) > 0

    def test_that_the_learner_misses(self, recipe, detkit_command):
        path = recipe(learner={"class_path": "toy_learners.DomainAdaptation"})
        status, said = detkit_command("train", "--config", path)
        assert (status, "a data source named other" in said) == (2, True)

    def test_that_nobody_reads(self, recipe, sources, detkit_command):
        status, said = detkit_command("train", "--config", recipe(data=sources))
        assert (status, "PlainLearner does not read the data source other" in said) == (2, True)


class TestWrong:
    def test_a_run_goes_on_with_its_own_learner(self, recipe, detkit_command):
        run(detkit_command, "--config", recipe("gan", learner=GAN, trainer={"max_epochs": 1}))
        shutil.copy("runs/gan/config.yaml", "config.yaml")
        argv = ["--config", "config.yaml", "--learner=PlainLearner", "--resume", "runs/gan"]
        status, said = detkit_command("train", *argv, "--trainer.max_epochs", "2")
        assert status == 2
        assert "another learner than PlainLearner" in said

    def test_a_name_that_no_learner_has(self, recipe, detkit_command):
        status, said = detkit_command("train", "--config", recipe(learner={"class_path": "PlainLerner"}))
        assert status == 2
        assert "did you mean PlainLearner" in said


class TestLearningRates:
    def test_a_part_of_the_model_learns_slower_and_goes_on_bit_for_bit(self, recipe, monkeypatch, detkit_command):
        path = recipe(
            "rates",
            lr_factors={"trunk": 0.1, "trunk.0": 0.01},
            decay_norm_and_bias=False,
            lr_batch_size=4,
            schedule={"class_path": "WarmupCosine", "init_args": {"warmup_steps": 3}},
            ema=0.9,
            trainer={"max_epochs": 3},
        )
        assert_goes_on(monkeypatch, detkit_command, path, step=8)
        row = rows("runs/unbroken")[3]
        assert float(row["lr"]) == pytest.approx(0.05 * 2 / 4)  # of what has no factor
        (groups,) = (state["param_groups"] for state in read_checkpoint("runs/broken/last.ckpt")["optimizer_states"])
        assert [group["initial_lr"] / 0.025 for group in groups] == pytest.approx([1, 1, 0.01, 0.01, 0.1, 0.1])

    @pytest.mark.parametrize(
        "option", ["--lr_factors={trunk: 0.2}", "--lr_factors=null", "--decay_norm_and_bias=false"]
    )
    def test_a_run_goes_on_with_its_own(self, recipe, detkit_command, option):
        run(detkit_command, "--config", recipe(lr_factors={"trunk": 0.1}, trainer={"max_epochs": 1}))
        status, said = detkit_command("train", "--resume", "runs/tiny", option, "--trainer.max_epochs", "2")
        assert (status, "with other groups of parameters" in said) == (2, True)

    def test_layers_by_their_depth(self, recipe, detkit_command):
        decay = {"decay": 0.5, "parts": ["trunk.0", "trunk.2", "norm"]}
        run(detkit_command, "--config", recipe(lr_layer_decay=decay, lr_factors={"norm": 0.75}))
        groups = read_checkpoint("runs/tiny/last.ckpt")["optimizer_states"][0]["param_groups"]
        assert [group["lr"] / 0.05 for group in groups] == pytest.approx([1, 0.125, 0.25, 0.75])

    def test_a_part_that_is_not_there(self, recipe, detkit_command):
        status, said = detkit_command("train", "--config", recipe(lr_factors={"trunc": 0.1}))
        assert status == 2
        assert "lr_factors names trunc" in said
        assert "did you mean trunk" in said
