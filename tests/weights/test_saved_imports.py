"""Imported detectors are saved and come back equal, with the epsilon of batch norm that their weights were made for."""

import pytest
import torch
import torchvision
from torchvision.models._api import WeightsEnum

import detkit
from detkit.engine.checkpoint import build_model
from detkit.model_settings import check_describes
from detkit.models import with_classes
from detkit.object_config import config_of
from detkit.weights import from_torchvision
from detkit.weights.leaving.result_settings import batch_norm_epsilons
from detkit.weights.torchvision_weights import BUILDERS

QUICK = {"ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"}
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BUILDERS]


def _state_dict(name, classes):
    torch.manual_seed(0)
    make = getattr(torchvision.models.detection, name)
    return make(weights=None, weights_backbone=None, num_classes=classes + 1).state_dict()


def _published(monkeypatch, name):
    """As far as that goes without a network: the download is replaced by random weights."""
    weights = _state_dict(name, classes=90)
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: weights)
    return from_torchvision(name, weights="DEFAULT")


@pytest.mark.parametrize("name", EVERY)
def test_every_detector_of_torchvision_comes_back(name, tmp_path):
    model = with_classes(from_torchvision(name, _state_dict(name, classes=5)), ["cat", "dog", "hen"])
    model.save(tmp_path / "saved.ckpt")
    back = detkit.load(tmp_path / "saved.ckpt")
    assert batch_norm_epsilons(back) == batch_norm_epsilons(model)
    assert [category.name for category in back.categories] == ["cat", "dog", "hen"]
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = (one.eval().raw(one.preprocess([image]).images) for one in (model, back))
    leaves = torch.utils._pytree.tree_leaves
    assert len(leaves(expected)) > 1
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "epsilon"), [("retinanet_resnet50_fpn", 0.0), ("fasterrcnn_mobilenet_v3_large_320_fpn", 1e-5)]
)
def test_published_weights_keep_their_epsilon(name, epsilon, monkeypatch):
    model = with_classes(_published(monkeypatch, name), ["cat"])
    assert set(batch_norm_epsilons(model).values()) == {epsilon}
    built = build_model(config_of(model), [], "config")
    assert set(batch_norm_epsilons(built).values()) == {epsilon}
    check_describes(model, built)
