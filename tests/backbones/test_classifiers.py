"""Whole nets by name."""

import logging
from pathlib import Path

import matplotlib
import pytest
import timm
import torch
import torchvision

from detkit.backbones import DarknetTiny, ImagePyramid, TorchvisionBackbone, classifier
from detkit.backbones.classifiers import PooledClassifier
from detkit.deprecation import OldName
from detkit.errors import InputError
from detkit.images import read_image, to_tensor


def test_published_weights_load_by_their_usual_names(shared):
    path = shared / "weights" / "squeezenet1_1_imagenet.pth"
    if not path.is_file():
        pytest.skip(f"no {path}")
    net = classifier("squeezenet1_1", weights=str(path)).eval()
    published = torch.load(path, weights_only=True)
    assert net.state_dict().keys() == published.keys()
    assert all(torch.equal(value, published[name]) for name, value in net.state_dict().items())
    # One color all over the image is, to this net, not the same as another: its weights are no random ones.
    images = torch.zeros(2, 3, 224, 224)
    images[1] = 2.0
    with torch.no_grad():
        assert len(set(net(images).argmax(dim=1).tolist())) == 2


def test_published_weights_classify_a_photograph_as_torchvision_does(shared):
    path = shared / "weights" / "squeezenet1_1_imagenet.pth"
    photograph = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    for file in (path, photograph):
        if not file.is_file():
            pytest.skip(f"no {file}")
    theirs = torchvision.models.squeezenet1_1(weights=None).eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    published = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    images = published.transforms()(to_tensor(read_image(photograph)))[None]
    backbone = TorchvisionBackbone("squeezenet1_1", str(path)).eval()
    with torch.no_grad():
        logits = classifier("squeezenet1_1", weights=str(path)).eval()(images)
        assert torch.equal(logits, theirs(images))
        assert torch.equal(backbone(images)[-1], theirs.features(images))
    likely = {published.meta["categories"][label] for label in logits.topk(5).indices[0].tolist()}
    assert "military uniform" in likely


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "legacy_seresnet18"])
def test_the_nets_of_the_libraries_are_theirs(name, tmp_path):
    torch.manual_seed(0)
    library = timm.create_model if name.startswith("legacy") else torchvision.models.get_model
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    theirs = library(name, num_classes=5, **options).eval()
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    ours = classifier(name, 5, str(tmp_path / "net.pth")).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_googlenet_has_its_auxiliary_classifiers_in_training():
    outputs = classifier("googlenet", 5).train()(torch.rand(2, 3, 224, 224))
    assert [output.shape for output in outputs] == [(2, 5)] * 3


def test_with_other_classes_the_last_layer_starts_anew(tmp_path, caplog):
    torch.manual_seed(0)
    theirs = torchvision.models.squeezenet1_1(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    with caplog.at_level(logging.WARNING):
        ours = classifier("squeezenet1_1", 7, str(tmp_path / "net.pth"))
    assert "classifier.1.weight (file (1000, 512, 1, 1), model (7, 512, 1, 1))" in caplog.text
    assert torch.equal(ours.features[0].weight, theirs.features[0].weight)


def test_published_weights_for_other_classes(monkeypatch):
    published = torchvision.models.squeezenet1_1(weights=None).state_dict()
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **options: published)
    ours = classifier("squeezenet1_1", 7, "DEFAULT")
    assert ours(torch.rand(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(ours.features[0].weight, published["features.0.weight"])
    assert torch.equal(
        classifier("squeezenet1_1", weights="DEFAULT").classifier[1].bias, published["classifier.1.bias"]
    )


@pytest.mark.parametrize(
    ("name", "close"), [("zf_net", "zfnet"), ("resnet-18", "resnet18"), ("se_resnet50", "seresnet50")]
)
def test_an_unknown_name_is_answered_with_close_ones(name, close):
    with pytest.raises(InputError, match=rf"{name}.*{close}"):
        classifier(name)


def test_there_are_no_published_weights_of_ours():
    with pytest.raises(InputError, match="zfnet cannot be had"):
        classifier("zfnet", weights="DEFAULT")


@pytest.mark.parametrize("owner", [PooledClassifier, ImagePyramid])
def test_the_old_name_of_the_backbone_argument_still_works(owner):
    backbone = DarknetTiny(0.1)
    rest = {"num_classes": 3} if owner is PooledClassifier else {"scales": [1.0]}
    with pytest.warns(OldName, match=rf"{owner.__name__}\(backbone=\.\.\.\) now"):
        assert owner(trunk=backbone, **rest).trunk is backbone
