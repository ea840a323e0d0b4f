"""Every trunk as the classifier that it was."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import timm
import torchvision
from torch import nn

from detkit.backbones.alexnet import AlexNet
from detkit.backbones.overfeat import OverFeatAccurate, OverFeatFast
from detkit.backbones.pretrained import downloaded, load_matching, read_state_dict
from detkit.backbones.torchvision_backbone import create_net
from detkit.backbones.zfnet import ZFNet
from detkit.errors import InputError

OWN = {
    "alexnet_two_towers": AlexNet,
    "zfnet": ZFNet,
    "overfeat_fast": OverFeatFast,
    "overfeat_accurate": OverFeatAccurate,
}
IMAGENET_CLASSES = 1000


def classifier(name: str, num_classes: int = IMAGENET_CLASSES, weights: str | None = None) -> nn.Module:
    """The whole net `name`, from images ``(B, 3, H, W)`` to class logits ``(B, num_classes)``.

    Parameters have the names of the net's own library, so that its usual weight files load; in training GoogLeNet
    and Inception also return the logits of their auxiliary classifiers, as torchvision's do.

    Args:
        name: one of `OWN`; else a classification net of torchvision; else a model of timm.
        num_classes: outputs of the last layer. With another number than in the weights file, the last layer stays as
            initialised, and a warning tells.
        weights: nothing for random weights, ``DEFAULT`` for the library's download, or the path of a weights file.

    Raises:
        InputError: unknown name, weights that cannot be had, or a weights file that does not fit.
    """
    if weights == "DEFAULT":
        return downloaded(name, lambda: _published(name, num_classes))
    net = _create(name, num_classes)
    if weights is not None:
        load_matching(net, read_state_dict(weights), source=str(weights))
    return net


def _create(name: str, num_classes: int) -> nn.Module:
    if name in OWN:
        return OWN[name](num_classes=num_classes).as_classifier()
    if name in torchvision.models.list_models(module=torchvision.models):
        return _of_torchvision(name, num_classes=num_classes)
    if timm.is_model(name):
        return timm.create_model(name, num_classes=num_classes)
    names = [*OWN, *torchvision.models.list_models(module=torchvision.models), *timm.list_models()]
    close = ", ".join(get_close_matches(name, names, n=3, cutoff=0.4)) or "none"
    raise InputError(f"there is no classification net {name!r}; close to it: {close}")


def _published(name: str, num_classes: int) -> nn.Module:
    if name in OWN:
        raise InputError("detkit publishes no weights")
    if name in torchvision.models.list_models(module=torchvision.models):
        published = _of_torchvision(name, weights="DEFAULT")
    else:
        published = timm.create_model(name, pretrained=True)
    if num_classes == IMAGENET_CLASSES:
        return published
    net = _create(name, num_classes)
    load_matching(net, published.state_dict(), source=f"the published weights of {name}")
    return net


def _of_torchvision(name: str, **options: Any) -> nn.Module:
    net = create_net(name, **options)
    if hasattr(net, "transform_input"):  # GoogLeNet and Inception, whose published weights are for pixels in [-1, 1]
        net.transform_input = True
    return net
