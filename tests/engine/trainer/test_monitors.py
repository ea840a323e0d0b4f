"""A callback that waits for a metric which is never logged is refused before an epoch is over."""

from pathlib import Path

import pytest
from watcher import SEEN

EARLY = "lightning.pytorch.callbacks.EarlyStopping"


@pytest.fixture
def train(recipe, detkit_command):
    def run(**early):
        callbacks = [{"class_path": "watcher.Watch"}, {"class_path": EARLY, "init_args": early}]
        return detkit_command("train", "--config", recipe(trainer={"callbacks": callbacks, "max_epochs": 3}))

    return run


@pytest.mark.parametrize("metric", ["val/AP60", "loss", "train/mask"])
def test_a_metric_that_is_not_logged_is_a_sentence_with_those_that_are(train, metric):
    status, said = train(monitor=metric)
    assert status == 2, said
    assert said.count("\n") == 1
    assert f"EarlyStopping monitors {metric}" in said
    assert "train/loss" in said
    assert SEEN["steps"] == []
    assert not list(Path("runs").rglob("config.yaml"))


def test_a_metric_of_validations_ends_a_run_early(train):
    status, said = train(monitor="val/AP", min_delta=1e9, patience=1, mode="max")
    assert (status, said) == (0, "")
    assert SEEN["steps"][-1] == 12
