"""Where the weights of a model come from: collected from its parts, or set."""

import timm
import torch
import torchvision

from detkit.backbones import TimmBackbone, TorchvisionBackbone
from detkit.backbones.weights_sources import timm_source, torchvision_source
from detkit.models import Classifier, FasterRCNN
from detkit.structures import WeightsSource

OWN = WeightsSource("mine", "a.ckpt", "MIT")


def test_random_weights_have_none():
    assert FasterRCNN(TimmBackbone("test_resnet"), 2).provenance == ()


def test_those_of_a_file_name_it_and_say_that_the_license_is_unknown(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    model = FasterRCNN(TimmBackbone("test_resnet", weights=str(path)), 2)
    assert model.provenance == (WeightsSource("test_resnet", str(path), f"unknown: {path}"),)
    assert Classifier("test_resnet", 3, weights=str(path)).provenance == model.provenance


def test_published_ones_have_their_publishers_words(monkeypatch):
    nothing = torchvision.models.squeezenet1_1().state_dict()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_, **__: nothing)
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    (source,) = Classifier(TorchvisionBackbone("squeezenet1_1", weights="DEFAULT"), 2).provenance
    assert source.name == "torchvision squeezenet1_1 IMAGENET1K_V1"
    assert source.source.startswith("https://download.pytorch.org/models/squeezenet1_1-")
    assert source.license.startswith("unknown: torchvision's code is BSD-3-Clause")


def test_a_license_of_their_own_comes_first():
    assert torchvision_source("vit_b_16", "IMAGENET1K_SWAG_E2E_V1").license.endswith("SWAG/blob/main/LICENSE")
    source = WeightsSource("timm test_resnet.r160_in1k", "timm/test_resnet.r160_in1k", "apache-2.0")
    assert timm_source("test_resnet") == source


def test_what_is_set_takes_the_place_of_what_parts_say_and_stays_once():
    model = FasterRCNN(TimmBackbone("test_resnet"), 2)
    model.backbone.weights_source = OWN
    assert model.provenance == (OWN,)
    later = WeightsSource("later", "b.ckpt", "unknown")
    model.provenance = [*model.provenance, OWN, later]
    assert model.provenance == (OWN, later)
    assert model.eval().folded().provenance == (OWN, later)
