"""The one check of the numbers in a config: which values an argument of a name can have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detkit.errors import InputError

_LARGEST_SEED = 2**32 - 1
_LARGEST_COUNT = 2**31 - 1  # more is no count of anything here, and overflows in torch or Python


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`; `above` excludes `least` itself."""

    least: float
    most: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.least < value if self.above else self.least <= value) and value <= self.most

    def __str__(self) -> str:
        if self.most < math.inf:
            first, last = ("above", "and up to") if self.above else ("from", "to")
            return f"{first} {self.least:g} {last} {self.most:.0f}"
        return f"above {self.least:g}" if self.above else f"at least {self.least:g}"


_SHARE = Range(0, 1)
_POSITIVE = Range(0, above=True)
_NOT_NEGATIVE = Range(0)
_COUNT = Range(1)

RANGES: Mapping[Range, Sequence[str]] = {
    Range(0, _LARGEST_SEED): ("seed",),
    _SHARE: (
        *("background_iou", "foreground_iou", "least_background_iou", "ignore_iou", "anchor_iou", "ignore_coverage"),
        *("crop", "crowd_probability", "dropout", "drop_block", "foreground_fraction", "horizontal_flip"),
        *("vertical_flip", "iou_threshold", "nms_threshold", "score_threshold", "match_threshold", "label_smoothing"),
        *("min_visibility", "png_fraction", "probability", "p", "share", "warmup_factor", "ious", "stage_ious"),
        "min_ious",
    ),
    _POSITIVE: (
        "aspect_ratios",
        "sizes",
        "anchor_sizes",
        "strides",
        "std",
        "sigma",
        "keypoint_sigmas",
        "scales",
        "width",
    ),
    _NOT_NEGATIVE: (
        *("lr", "weight_decay", "momentum", "dampening", "eps", "betas", "trust_coefficient", "lr_decay"),
        *("brightness", "contrast", "saturation", "hue", "noise", "gamma", "alpha", "final_factor", "power"),
        *("warmup_steps", "warmup_power", "num_workers", "frozen_stages", "pictures", "mixing_epochs", "bootstrap"),
        "images",
        *(
            "loss_weights",
            "stage_weights",
            "auxiliary_weight",
            "milestones",
            "convolutions",
            "max_objects",
            "center_radius",
        ),
    ),
    _COUNT: (
        *("batch_size", "eval_batch_size", "num_classes", "lr_batch_size", "save_every_n_steps", "candidates"),
        *("detections", "detections_per_class", "max_proposals", "min_size", "max_size", "image_size", "size"),
        *("shorter_side", "divisor", "hidden", "out_channels", "channels", "depths", "boxes_per_cell", "num_keypoints"),
        *("regions_per_image", "samples_per_image", "positives_per_image", "negatives_per_image", "resolution"),
        *(
            "answers",
            "grid",
            "trials",
            "limits",
            "canonical_size",
            "side",
            "every",
            "step",
            "smallest",
            "largest",
            "max_factor",
        ),
    ),
    Range(0, 1, above=True): ("decay",),
}
"""The names of arguments, of detkit's classes and torch's optimizers, by what their numbers can be."""

BY_NAME = {name: valid for valid, names in RANGES.items() for name in names}
_OWN = ("detkit.", "torch.optim.")
_LIGHTNING = "trainer."  # which `detkit.engine.trainer.trainer_options` checks


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse numbers that no run can use: nan, and those out of the range that their name has in `RANGES`.

    Args:
        config: plain values, as a recipe has them; classes as ``class_path`` and ``init_args``.

    Raises:
        InputError: it names the key, its value, and what is valid.
    """
    for key, name, value, own in _numbers(config, "", "", own=True):
        valid = BY_NAME.get(name) if own and not key.startswith(_LIGHTNING) else None
        if math.isnan(value) or (valid is not None and math.isinf(value)):
            raise InputError(f"{key} must be a finite number, got {value}.")
        if valid is not None and value not in valid:
            raise InputError(f"{key} must be {valid}, got {value}.")
        if valid in (_COUNT, _NOT_NEGATIVE) and isinstance(value, int) and value > _LARGEST_COUNT:
            raise InputError(f"{key} must be at most {_LARGEST_COUNT}, got {value}.")


def _numbers(value: Any, key: str, name: str, own: bool) -> Iterator[tuple[str, str, float, bool]]:
    """Each number with its key, the name of its argument, and whether that is one of detkit's or of torch's."""
    if isinstance(value, Mapping):
        if "class_path" in value:
            path = str(value["class_path"])
            inner = value.get("init_args") or {}
            yield from _numbers(inner, f"{key}.init_args", name, path.startswith(_OWN) or "." not in path)
            return
        for part, inside in value.items():
            yield from _numbers(inside, f"{key}.{part}" if key else str(part), str(part), own)
    elif isinstance(value, (list, tuple)):
        for inside in value:
            yield from _numbers(inside, key, name, own)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield key, name, value, own
