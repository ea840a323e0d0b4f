"""`model.save`: every family, made in Python, comes back from its file."""

import copy
import pickle
from functools import partial

import pytest
import torch
from narrow_models import MODELS, batch_for, small

import detkit
from detkit.backbones import TimmBackbone
from detkit.errors import InputError
from detkit.heads import BoxHead, TwoFullyConnected
from detkit.models import FasterRCNN
from detkit.structures import Category


def backbone(width: int = 8) -> TimmBackbone:
    """One of detkit's, which a file can name."""
    return TimmBackbone("test_resnet", stages=[2, 3, 4])


CATEGORIES = [Category(3, "cat"), Category(5, "dog"), Category(9, "cow")]


QUICK = {"faster", "yolo", "yolo_v1", "classifier"}


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one not in QUICK)) for one in MODELS])
def test_comes_back_from_the_file_alone(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name](backbone).eval()
    model.categories = CATEGORIES[: model.num_classes]
    model.save(tmp_path / "saved.ckpt")
    loaded = detkit.load(tmp_path / "saved.ckpt")
    assert type(loaded) is type(model)
    assert loaded.categories == model.categories
    images, targets = batch_for(model, 2)
    given = targets if model.asks_for else None
    with torch.no_grad():
        for ours, theirs in zip(model(images, given=given), loaded(images, given=given), strict=True):
            assert str(ours) == str(theirs)
            assert torch.equal(getattr(ours, "scores", torch.ones(0)), getattr(theirs, "scores", torch.ones(0)))
    loaded.save(tmp_path / "again.ckpt")
    assert (tmp_path / "again.ckpt").is_file()


@pytest.fixture
def model():
    return MODELS["faster"](backbone)


def test_a_copy_and_a_pickle_can_be_saved_too(model, tmp_path):
    for number, twin in enumerate((copy.deepcopy(model), pickle.loads(pickle.dumps(model)))):
        twin.save(tmp_path / f"{number}.ckpt")
        assert type(detkit.load(tmp_path / f"{number}.ckpt")) is FasterRCNN


def test_what_no_file_can_hold_is_named(tmp_path):
    head = partial(BoxHead, trunk=lambda *sizes: TwoFullyConnected(*sizes, hidden=8))
    with pytest.raises(InputError, match=r"FasterRCNN has no config .*: box_head is .*a function") as caught:
        FasterRCNN(TimmBackbone("test_resnet"), 3, **small() | {"box_head": head}).save(tmp_path / "no.ckpt")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_changed_setting_is_not_lost_in_silence(model, tmp_path):
    model.preprocess.min_size = 32
    with pytest.raises(InputError, match=r"preprocess\.min_size"):
        model.save(tmp_path / "changed.ckpt")
