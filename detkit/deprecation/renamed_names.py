"""Renamed functions, classes and constants of moved modules, for one release.

A module that has not moved has its own `detkit.deprecation.moved_names`.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED_NAMES: Mapping[str, Mapping[str, str]] = {
    "backbones.catalogue": {"catalogue": "catalog", "trunk": "backbone"},
    "evaluation.tide": {"analyse_errors": "analyze_errors"},
    "weights.darknet_layers": {
        name: f"detkit.weights.darknet.weighted_layers.{name}"
        for name in ("BatchNorm", "Connected", "Convolutional", "Deconvolutional", "Local", "Normalization")
    },
    "proposals.grouping": {"COLOUR": "COLOR", "COLOUR_BINS": "COLOR_BINS"},
}
"""By the old name of a module without the prefix ``detkit.``, from each old name in it to the new one."""
