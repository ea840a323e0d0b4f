"""`detkit.train`: the command as a function, as often as one likes in one process."""

import logging
import os
import random
import signal
import threading
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from recipes import TINY

import detkit
from detkit.engine.cli import main
from detkit.engine.verbs.process_state import unchanged_process
from detkit.errors import InputError
from detkit.models import Classifier

CLASSIFIER = {"class_path": "Classifier", "init_args": {"net": "test_resnet"}}
ONCE = {"epochs": 1, "device": "cpu"}


@pytest.fixture
def content(shapes_root, tmp_path, monkeypatch):
    """The content of a small recipe."""
    monkeypatch.chdir(tmp_path)
    return {**TINY, "data": {**TINY["data"], "root": str(shapes_root)}}


def weights_of(path):
    return detkit.load(path, trust=["tiny_detector"]).state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_same_seed_gives_the_weights_of_the_command_line(recipe):
    torch.manual_seed(99)
    run = detkit.train(recipe(), epochs=1, name="called", seed=3, **{"optimizer.init_args.lr": 0.01})
    assert main(["train", "--config", recipe(), "--trainer.max_epochs=1", "--seed=3", "--optimizer.lr=0.01"]) == 0
    assert same(run.model.state_dict(), weights_of("runs/tiny"))
    ours, theirs = (yaml.safe_load(Path(f"runs/{name}/config.yaml").read_text()) for name in ("called", "tiny"))
    assert ours | {"name": None} == theirs


def test_two_recipes_in_one_process_do_not_meet(content, recipe):
    first = detkit.train(content, **ONCE)
    second = detkit.train({**content, "model": CLASSIFIER}, {"image_class": "largest"}, **ONCE)
    again = detkit.train(content, name="again", **ONCE)
    assert (first.folder.name, second.folder.name) == ("tinydetector", "classifier")
    assert same(first.model.state_dict(), again.model.state_dict())
    assert first.metrics == again.metrics
    assert not second.model.training
    assert [one.name for one in second.model.categories]


def test_the_numbers_are_those_of_the_model_that_it_returns(content, shapes_root):
    run = detkit.train(content, epochs=3, device="cpu")
    numbers = detkit.evaluate(run.folder, device="cpu", trust="tiny_detector")["bbox"]
    assert run.metrics == pytest.approx(numbers, abs=1e-6)
    assert repr(run).startswith(f"Run('{run.folder}', TinyDetector, AP=")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"optimizer": {"init_args": {"lr": 1e-5}}}, {"lr": 1e-5, "momentum": 0.9}),
        ({"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 2e-5}}}, {"lr": 2e-5}),
        ({"optimizer": partial(torch.optim.AdamW, lr=3e-5)}, {"lr": 3e-5}),
        ({"optimizer": {"lr": 0.5}}, {"lr": 0.5, "momentum": 0.9}),
        ({"optimizer.lr": np.float32(0.25)}, {"lr": 0.25, "momentum": 0.9}),
    ],
)
def test_settings_are_dotted_nested_or_objects(content, given, found):
    run = detkit.train(content, {"batch_size": 3}, **ONCE, **given, trainer={"limit_train_batches": 1})
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert found.items() <= config["optimizer"]["init_args"].items()
    assert (config["data"]["batch_size"], config["trainer"]["limit_train_batches"]) == (3, 1)


def test_callbacks_can_be_objects(content):
    class Counter(Callback):
        steps = 0

        def on_train_batch_end(self, *arguments):
            self.steps += 1

    counter = Counter()
    detkit.train(content, trainer={"callbacks": [counter], "limit_train_batches": 2}, **ONCE)
    assert counter.steps == 2


class TestAModel:
    @pytest.fixture
    def data(self, shapes_root, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return {"root": shapes_root, "num_workers": 0, "batch_size": 4, "image_class": "largest"}

    def test_is_trained_itself_and_comes_back_from_its_run(self, data):
        model = Classifier("test_resnet", 7)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        run = detkit.train(model, data, pictures=0, **ONCE)
        assert run.model is model
        assert run.folder.name == "classifier"
        assert not same(before, model.state_dict())
        assert same(detkit.load(run.folder).state_dict(), model.state_dict())
        assert not model.training

    def test_of_other_classes_is_refused(self, data):
        with pytest.raises(InputError, match=r"The Classifier has 4 classes, but .* has 7: make it with num_classes=7"):
            detkit.train(Classifier("test_resnet", 4), data, **ONCE)
        assert not os.path.exists("runs")


class TestWrongInput:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"epoch": 3}, "There is no setting epoch"),
            ({"optimizer.lrr": 3}, r"^optimizer \(SGD\) has no option lrr; did you mean lr"),
            ({"trainer.max_epochs": "many"}, "^trainer.max_epochs must be"),
            ({"pictures": object()}, "pictures is a object, which a recipe cannot hold"),
            ({"resume": "runs/gone"}, "runs/gone does not exist"),
        ],
    )
    def test_is_said_in_one_sentence(self, recipe, given, said):
        path = recipe()
        with pytest.raises(InputError, match=said) as caught:
            detkit.train(path, **given)
        assert "--" not in str(caught.value)

    def test_of_the_arguments(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="Give a recipe"):
            detkit.train()
        with pytest.raises(InputError, match="did you mean faster_rcnn_shapes"):
            detkit.train("faster_rcnn_shape")
        with pytest.raises(InputError, match="data is a int"):
            detkit.train("faster_rcnn_shapes", 3)

    def test_a_folder_in_use_names_the_settings(self, content):
        detkit.train(content, name="mine", **ONCE)
        with pytest.raises(InputError, match=r'resume="runs/mine", choose another name, or .* overwrite=True'):
            detkit.train(content, name="mine", **ONCE)
        detkit.train(content, name="mine", overwrite=True, **ONCE)
        resumed = detkit.train(resume="runs/mine", epochs=2)
        assert resumed.folder.name == "mine"
        assert torch.load("runs/mine/last.ckpt", weights_only=True)["epoch"] == 1


def state_of_the_process():
    loggers = [logging.getLogger(name) for name in (None, "detkit", "lightning", "lightning.pytorch", "detkit.engine")]
    return {
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "shown by": warnings.showwarning,
        "loggers": [(one.level, list(one.handlers), one.propagate) for one in loggers],
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "folder": os.getcwd(),
        "hooks": threading.excepthook,
    }


class TestTheProcess:
    def test_is_as_before(self, content):
        before = state_of_the_process()
        deterministic = {"trainer": {"deterministic": True, "benchmark": False}}
        run = detkit.train(content, **ONCE, **deterministic)
        assert state_of_the_process() == before
        detkit.evaluate(run.folder, device="cpu", trust="tiny_detector")
        assert state_of_the_process() == before

    def test_is_as_before_after_wrong_input(self, content):
        before = state_of_the_process()
        with pytest.raises(InputError):
            detkit.train(content, **ONCE, **{"trainer.precision": "64-true"})
        assert state_of_the_process() == before
        detkit.train(content, **ONCE)

    def test_ctrl_c_is_a_keyboard_interrupt_and_the_run_can_be_resumed(self, content):
        class Stop(Callback):
            def on_train_batch_end(self, *arguments):
                signal.raise_signal(signal.SIGINT)

        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match=r'stopped by SIGINT: .* resume="runs/stopped"'):
            detkit.train(content, trainer={"callbacks": [Stop()]}, name="stopped", **ONCE)
        assert signal.getsignal(signal.SIGINT) is handler
        detkit.train(resume="runs/stopped")

    def test_trains_in_another_thread_as_notebooks_do(self, content):
        runs = []
        thread = threading.Thread(target=lambda: runs.append(detkit.train(content, **ONCE)))
        thread.start()
        thread.join()
        assert runs[0].metrics

    def test_shows_what_the_command_line_shows_where_no_logging_is_set_up(self, monkeypatch, capsys):
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        for _ in range(2):
            with unchanged_process():
                logging.getLogger("detkit.engine").info("a line")
        logging.getLogger("detkit.engine").info("not shown")
        assert capsys.readouterr().err == "a line\n" * 2

    def test_leaves_logging_to_a_process_that_has_set_it_up(self, caplog, capsys):
        with unchanged_process():
            logging.getLogger("detkit.engine").info("a line")
        assert caplog.messages == ["a line"]
        assert capsys.readouterr().err == ""
