"""Another size of the network's input every few batches."""

from types import SimpleNamespace

import pytest
import torch

from detkit.engine.callbacks.multi_scale import MultiScale
from detkit.errors import InputError
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, SmoothShortestEdge, Square, Stretch

PREPROCESSES = [
    ShortestEdge(48),
    SmoothShortestEdge(48),
    Square(48),
    Letterbox((48, 48)),
    Stretch((48, 48)),
    CenterCrop((48, 48), 56),
    OriginalSize(),
]


def _sizes(callback, module, batches, first=0):
    sizes = []
    loop = SimpleNamespace(total_batch_idx=first)
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=loop))
    callback.on_train_start(trainer, module)
    for batch in range(first, first + batches):
        loop.total_batch_idx = batch
        callback.on_train_batch_start(trainer, module, None, 0)
        sizes.append(module.model.preprocess.size)
        callback.on_train_batch_end(trainer, module, None, None, 0)
        assert module.model.preprocess.size == (416, 416)
    return sizes


def _module(preprocess=None):
    return SimpleNamespace(model=SimpleNamespace(preprocess=preprocess or Letterbox((416, 416))))


def test_changes_every_ten_batches_within_its_range():
    sizes = _sizes(MultiScale(), _module(), 1000)
    assert all(len(set(sizes[start : start + 10])) == 1 for start in range(0, 1000, 10))
    assert {side for side, _ in sizes} == set(range(320, 609, 32))
    assert all(height == width for height, width in sizes)


def test_a_resumed_run_goes_on_with_the_same_sizes():
    whole = _sizes(MultiScale(seed=3), _module(), 60)
    assert _sizes(MultiScale(seed=3), _module(), 35, first=25) == whole[25:]
    assert _sizes(MultiScale(seed=4), _module(), 60) != whole


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=lambda one: type(one).__name__)
def test_every_preprocess_changes_its_size(preprocess):
    module, callback = _module(preprocess), MultiScale(64, 96, every=1)
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=0)))
    callback.on_train_start(trainer, module)
    seen = set()
    for batch in range(10):
        trainer.fit_loop.epoch_loop.total_batch_idx = batch
        callback.on_train_batch_start(trainer, module, None, 0)
        (size,) = module.model.preprocess([torch.zeros(3, 40, 60)]).sizes
        assert min(size) == callback.side(batch)
        seen.add(min(size))
        callback.on_train_batch_end(trainer, module, None, None, 0)
        assert module.model.preprocess is preprocess
    assert seen == {64, 96}


def test_needs_a_preprocess():
    with pytest.raises(InputError, match=r"SimpleNamespace has no detkit\.preprocess"):
        MultiScale().on_train_start(None, SimpleNamespace(model=SimpleNamespace()))


def test_sizes_must_be_in_order():
    with pytest.raises(InputError, match="got 608, 320, 32 and 10"):
        MultiScale(608, 320)


def test_trains_from_a_config(recipe, detkit_command):
    backbone = {"class_path": "DarknetTiny", "init_args": {"width": 0.1, "stages": [4, 5]}}
    neck = {"class_path": "YOLOv3Neck", "init_args": {"channels": [4, 4], "convolutions": [0, 1]}}
    head = {"class_path": "YOLOv3Head", "init_args": {"anchors": [[[10, 10]], [[20, 20]]]}}
    letterbox = {"class_path": "Letterbox", "init_args": {"size": [64, 64]}}
    callback = {"class_path": "detkit.engine.callbacks.multi_scale.MultiScale"}
    callback["init_args"] = {"smallest": 32, "largest": 96, "every": 1}
    config = recipe(
        model={
            "class_path": "YOLOv3",
            "init_args": {"backbone": backbone, "neck": neck, "head": head, "preprocess": letterbox},
        },
        optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-4}},
        trainer={"callbacks": [callback], "max_epochs": 1},
    )
    status, said = detkit_command("train", "--config", config)
    assert status == 0, said
