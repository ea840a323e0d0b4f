"""The settings of a detector that change its results, against those of another library's detector."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detkit.model_settings import Difference, differences

_ONLY_IN_TRAINING = re.compile(
    r"(.+\.)?(matcher|region_sampler|postprocess_for_training|loss_weights|samples_per_image|foreground_fraction|alpha|"
    r"gamma|box_loss|negatives_per_positive|limits|center_radius|learns_from|momentum|inplace|p)(\..+)?"
)
# What was loaded, how answers are written, and what the names of tensors tell.
_NO_RESULT = re.compile(
    r"(.+\.)?(load_report|run_lengths|mask\.threshold|(background_)?logits?|classes\.out_channels)(\..+)?"
)
_BATCH_NORMS = {"BatchNorm2d", "FrozenBatchNorm2d"}
# Epsilon, where all have the same, is set by the export; the others differ as frozen ones do not keep them.
_OF_BATCH_NORM = ("eps", "num_features", "track_running_stats", "affine")


def result_differences(model: nn.Module, twin: nn.Module) -> Iterator[tuple[str, Difference]]:
    """The differences of two models that change results, each with the dotted name of the setting.

    One epsilon of all batch norms, and whether they are frozen, is left to the caller.
    """
    norms = _batch_norms(model)
    for one in differences(model, twin):
        setting = ".".join(filter(None, (one.part, one.attribute)))
        if not _changes_nothing(one, setting) and not (one.attribute in _OF_BATCH_NORM and one.part in norms):
            yield setting, one


def _changes_nothing(one: Difference, setting: str) -> bool:
    """Whether a difference has no influence on results."""
    if one.attribute is None:
        return {one.value, one.other} == _BATCH_NORMS
    if _is_rounded(one.value, one.other):
        return True
    return bool(_ONLY_IN_TRAINING.fullmatch(setting) or _NO_RESULT.fullmatch(setting))


def _is_rounded(value: Any, other: Any) -> bool:
    """Whether two numbers, or two lists of them, are the same in float32: 0.65 in a recipe is 0.2 + 3 * 0.15 there."""
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_rounded, value, other))
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (value, other))
    return numbers and math.isclose(value, other, rel_tol=1e-6)


def batch_norm_epsilons(model: nn.Module) -> dict[str, float]:
    """The epsilon of each batch norm of `model`, frozen or not, by its dotted name."""
    return {
        name: module.eps
        for name, module in model.named_modules()
        if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d))
    }


def _batch_norms(model: nn.Module) -> set[str]:
    """The batch norms of `model` if they have one epsilon."""
    epsilons = batch_norm_epsilons(model)
    return set(epsilons) if len(set(epsilons.values())) == 1 else set()
