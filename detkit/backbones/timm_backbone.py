"""`TimmBackbone`: any timm model that returns feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from detkit.backbones.backbone import Backbone, freeze
from detkit.backbones.dilation import check_output_stride
from detkit.backbones.frozen_batch_norm import freeze_batch_norm
from detkit.backbones.pretrained import LoadReport, download, load_matching, read_state_dict
from detkit.backbones.published import timm_file
from detkit.backbones.weights_sources import timm_source
from detkit.errors import InputError
from detkit.structures import WeightsSource

# Options that make transformers accept sizes other than that of training, by family.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})
_PROBE_SIZE = (256, 384)


class TimmBackbone(Backbone):
    """A timm model that returns the feature maps of selected stages.

    Stage ``n`` is timm's last feature map of stride ``2^n``. Parameters keep the names of
    timm's feature extractor below ``trunk.``.

    Args:
        name: any name of ``timm.list_models()`` that returns feature maps for images of any size. Most transformers
            require height and width to be multiples of their patch size.
        weights: None for random weights, ``DEFAULT`` for timm's download, or the path of a weights file with timm's
            names.
        stages: the stages to return, finest first; None: all from 2 (stride 4) on.
        frozen_stages: parts with stride up to ``2^frozen_stages`` are not trained; 0 trains all.
        frozen_batch_norm: use batch norm with its stored statistics, not trained.
        output_stride: the largest stride of a map, 8 or 16, by dilation with the same weights; stages keep their
            numbers. None: that of the network. timm's networks of convolutions mostly have it.

    Attributes:
        load_report: what was loaded from a weights file, or None.

    Raises:
        InputError: unknown name or stage, a model without feature maps, without this output stride or only for images
            of one size, or a weights file that does not fit.
    """

    trunk: Any  # timm's feature extractor, a module of many types

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        stages: Sequence[int] | None = None,
        frozen_stages: int = 0,
        frozen_batch_norm: bool = False,
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        info, options = _inspected(name)
        ends = {
            reduction.bit_length() - 1: index
            for index, reduction in zip(info.out_indices, info.reduction(), strict=True)
            if reduction.bit_count() == 1
        }
        stages = sorted(set(stages)) if stages is not None else [stage for stage in ends if stage >= 2]
        unknown = [stage for stage in stages if stage not in ends]
        if unknown or not stages:
            raise InputError(f"{name} has no stages {unknown}: it has {list(ends)} (stage n has stride 2^n)")

        if output_stride is not None:
            options = {**options, "output_stride": output_stride}
            _check_output_stride(name, options)
        indices = [ends[stage] for stage in stages]
        create = partial(timm.create_model, name, features_only=True, out_indices=indices, **options)
        self.trunk = (
            download(name, partial(create, pretrained=True), timm_file(name)) if weights == "DEFAULT" else create()
        )
        self.channels = self.trunk.feature_info.channels()
        self.strides = self.trunk.feature_info.reduction()
        self._channels_last = str(getattr(self.trunk, "output_fmt", "")).endswith("NHWC")
        self.load_report: LoadReport | None = None
        if weights is not None and weights != "DEFAULT":
            self.load_report = load_matching(self.trunk, _renamed(read_state_dict(weights), self.trunk), str(weights))
        if weights is not None:
            self.weights_source = timm_source(name) if weights == "DEFAULT" else WeightsSource.of_file(name, weights)
        if frozen_batch_norm:
            self.trunk = freeze_batch_norm(self.trunk)
        if frozen_stages:
            freeze(_parameters_through(self.trunk, frozen_stages))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the selected stages of `images` ``(B, 3, H, W)``, finest first."""
        features: list[Tensor] = self.trunk(images)
        return [x.permute(0, 3, 1, 2) for x in features] if self._channels_last else features


def _inspected(name: str) -> tuple[FeatureInfo, dict[str, Any]]:
    """The feature info of timm's model `name`, and the options with which it accepts images of any size."""
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:3]
        raise InputError(f"timm has no model {name!r}; close to it: {', '.join(close) or 'none'}")
    failures = []
    for options in _ANY_SIZE:
        try:
            with torch.device("meta"):
                net: Any = timm.create_model(name, features_only=True, **options).eval()
                net(torch.empty(1, 3, *_PROBE_SIZE))
            return net.feature_info, options
        except Exception as error:  # models raise errors of many types
            failures.append(error)
    raise InputError(f"timm's {name} cannot return feature maps of images of any size: {failures[0]}")


def _check_output_stride(name: str, options: dict[str, Any]) -> None:
    check_output_stride(options["output_stride"])
    try:
        with torch.device("meta"):
            timm.create_model(name, features_only=True, **options)
    except Exception as error:  # models raise errors of many types
        raise InputError(
            f"timm's {name} has no output_stride of {options['output_stride']}: leave it out, or choose a ResNet or a "
            f"MobileNet ({error})"
        ) from error


def _flat(name: str) -> str:
    """timm's extractors rename ``stages.0.x`` to ``stages_0.x`` or ``model.stages.0.x``; this form is common to all."""
    return name.removeprefix("model.").replace(".", "_")


def _renamed(state_dict: dict[str, Tensor], extractor: nn.Module) -> dict[str, Tensor]:
    """`state_dict` of the whole timm model with the names of its feature extractor."""
    own = {_flat(name): name for name in extractor.state_dict()}
    return {own.get(_flat(name), name): value for name, value in state_dict.items()}


def _parameters_through(extractor: Any, stage: int) -> list[nn.Parameter]:
    """The parameters up to the last one that the feature map of `stage` depends on, in the order of definition."""
    parts = extractor.feature_info.info
    ends = [_flat(part["module"]) + "_" for part in parts if (part["reduction"] - 1).bit_length() <= stage]
    parameters = list(extractor.named_parameters())
    inside = [i for i, (name, _) in enumerate(parameters) if any(_flat(name).startswith(end) for end in ends)]
    return [parameter for _, parameter in parameters[: max(inside, default=-1) + 1]]
