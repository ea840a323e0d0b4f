"""`from_fcn`: the weights that FCN's authors published for Caffe, as state dicts with Caffe's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from torch import Tensor

from detkit.backbones import ConvolutionalVGG16
from detkit.backbones.convolutional_vgg16 import VGG16_BLOCKS
from detkit.errors import InputError
from detkit.models import FCN8s, FCN16s, FCN32s
from detkit.preprocess import OriginalSize
from detkit.structures import WeightsSource
from detkit.weights.published_categories import voc_categories
from detkit.weights.state_dict import check_has, checked_tensors, load_all

# The authors' means of blue, green and red in 0..255 are 104.00698793, 116.66876762 and 122.67891434.
_MEAN, _STD = [122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255], [1 / 255] * 3
_HIDDEN = 4096  # channels of fc6 and fc7
_LICENSE = "the authors release their models for unrestricted use; unknown for a file of another origin"


@dataclass(frozen=True)
class _Published:
    """A net of the authors.

    Args:
        net: its class here.
        skip_scales: constants that it multiplies pool4 and pool3 by.
        upsampling: its transposed convolutions in Caffe, coarsest first.
    """

    net: type[FCN32s]
    skip_scales: Sequence[float] | None
    upsampling: Sequence[str]


_OF_8S = ("upscore2", "upscore_pool4", "upscore8")
_PUBLISHED = {
    "fcn32s": _Published(FCN32s, None, ("upscore",)),
    "fcn16s": _Published(FCN16s, None, ("upscore2", "upscore16")),
    "fcn8s": _Published(FCN8s, None, _OF_8S),
    "fcn8s-atonce": _Published(FCN8s, (0.01, 0.0001), _OF_8S),
}
_SCORES = ("score_fr", "score_pool4", "score_pool3")  # of fc7 and the skips

FCN8sName = Literal["fcn8s", "fcn8s-atonce"]


@overload
def from_fcn(name: FCN8sName, state_dict: Mapping[str, Any]) -> FCN8s: ...
@overload
def from_fcn(name: Literal["fcn16s"], state_dict: Mapping[str, Any]) -> FCN16s: ...
@overload
def from_fcn(name: str, state_dict: Mapping[str, Any]) -> FCN32s: ...
def from_fcn(name: str, state_dict: Mapping[str, Any]) -> FCN32s:
    """A detkit model with the same logits as the net of FCN's authors with the same weights (Long 2015).

    It takes RGB images in [0, 1], as all of detkit's models do: the channels of the first convolution and the means are
    reversed.

    Args:
        name: ``fcn32s``, ``fcn16s``, ``fcn8s``, or ``fcn8s-atonce``, whose skips were trained at once.
        state_dict: tensors or arrays with Caffe's names, ``conv1_1.weight`` to ``upscore8.weight``, as converters to
            PyTorch and the port ``torchfcn`` have them. fc6 is a convolution, ``(4096, 512, 7, 7)``.

    Raises:
        InputError: unknown name; tensors that are missing, unknown or of another shape; or an upsampling that mixes
            classes, which none of the published ones does.
    """
    if name not in _PUBLISHED:
        raise InputError(f"cannot import FCN's {name!r}, only {', '.join(_PUBLISHED)}")
    source, published = f"FCN's {name}", _PUBLISHED[name]
    tensors = checked_tensors(state_dict, source)
    check_has(tensors, ("fc7.bias", "score_fr.bias"), "no net of FCN's authors with Caffe's names")
    num_classes = len(tensors["score_fr.bias"])
    model = published.net(
        ConvolutionalVGG16(width=len(tensors["fc7.bias"]) / _HIDDEN),
        num_classes,
        skip_scales=published.skip_scales,
        preprocess=OriginalSize(mean=_MEAN, std=_STD),
    )
    names = _names(published)
    kernels = {f"{layer}.weight" for layer in published.upsampling}
    ours = {key: _kernel_of_each_class(key, one) if key in kernels else one for key, one in tensors.items()}
    first = ours.get("conv1_1.weight")
    if first is not None and first.ndim > 1:
        ours["conv1_1.weight"] = first.flip(1)
    load_all(model, ours, source, lambda own: names[own.rpartition(".")[0]] + "." + own.rpartition(".")[2])
    model.categories = voc_categories() if num_classes == len(voc_categories()) else None
    model.provenance = [WeightsSource(f"FCN {name}", "a state dict", _LICENSE)]
    return model


def _names(published: _Published) -> dict[str, str]:
    """From our names of layers to Caffe's."""
    names = {"backbone.fc6": "fc6", "backbone.fc7": "fc7"}
    index = 0
    for block, widths in enumerate(VGG16_BLOCKS, 1):
        for layer in range(1, len(widths) + 1):
            names[f"backbone.features.{index}"] = f"conv{block}_{layer}"
            index += 2  # with its ReLU
        index += 1  # the pooling
    names |= {f"head.scores.{rank}": score for rank, score in enumerate(_SCORES[: len(published.upsampling)])}
    names |= {f"head.upscore2.{rank}": layer for rank, layer in enumerate(published.upsampling[:-1])}
    return names | {"head.upscore": published.upsampling[-1]}


def _kernel_of_each_class(name: str, weight: Tensor) -> Tensor:
    """The kernels ``(K, 1, k, k)`` from each class to itself, of those ``(K, K, k, k)`` from each to each."""
    if weight.ndim != 4 or weight.shape[0] != weight.shape[1]:
        return weight  # is reported with its shape
    own = weight.diagonal(dim1=0, dim2=1).movedim(-1, 0)
    if weight.count_nonzero() != own.count_nonzero():
        raise InputError(f"{name} is not zero from one class to another: FCN8s upsamples each class by itself")
    return own[:, None]
