"""Checkpoints that 0e2a452 wrote load, and what they find is what it found then; `make_checkpoints.py` made them."""

from __future__ import annotations

import json
import lzma
import warnings
from pathlib import Path

import pytest
import torch
from answers import assert_same, plain
from families import MODELS, RUNS
from sample_images import images

import detkit
from detkit.engine.checkpoint import read_checkpoint, save_model

HERE = Path(__file__).parent
ANSWERS = json.loads((HERE / "answers_0e2a452.json").read_text())


@pytest.fixture(params=sorted(MODELS))
def family(request):
    return request.param


@pytest.fixture
def checkpoint(family, tmp_path):
    path = tmp_path / f"{family}.ckpt"
    path.write_bytes(lzma.decompress((HERE / "checkpoints_0e2a452" / f"{family}.ckpt.xz").read_bytes()))
    return path


def load(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return detkit.load(path)


def test_it_finds_what_it_found(family, checkpoint):
    model = load(checkpoint)
    for detections, expected in zip(model.predict(images()), ANSWERS[family], strict=True):
        assert_same(plain(detections), expected)


def test_it_is_saved_and_loaded_again(family, checkpoint, tmp_path):
    """With its own description, by the way that is left for models that were built by hand."""
    model = load(checkpoint)
    model.predict(images()[:1])  # use makes no other model of it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        save_model(model, read_checkpoint(checkpoint)["detkit"]["model"], tmp_path / "again.ckpt")
    again = load(tmp_path / "again.ckpt")
    assert [(category.id, category.name) for category in again.categories] == [(1, "red"), (4, "green"), (7, "blue")]
    for detections, expected in zip(again.predict(images()), ANSWERS[family], strict=True):
        assert_same(plain(detections), expected)


def test_its_weights_keep_their_names(family, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    stored = content.get("ema") or content["state_dict"]
    assert {f"model.{name}" for name in load(checkpoint).state_dict()} == stored.keys()


def test_the_fixtures_are_as_small_as_they_should_be():
    sizes = {path.name: path.stat().st_size for path in (HERE / "checkpoints_0e2a452").iterdir()}
    assert sizes.keys() == {f"{family}.ckpt.xz" for family in MODELS}
    assert sum(sizes.values()) < 3_000_000
    assert RUNS.keys() <= MODELS.keys()
