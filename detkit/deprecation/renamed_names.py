"""Functions, classes and constants of moved modules that have other names now; for one release.

Names of modules that have not moved stand in a `detkit.deprecation.moved_names` of the module itself.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED_NAMES: Mapping[str, Mapping[str, str]] = {
    "backbones.catalogue": {"catalogue": "catalog"},
    "evaluation.tide": {"analyse_errors": "analyze_errors"},
    "heads.levels": {"per_place": "flatten_predictions", "rare": "init_focal_bias_", "small": "init_normal_"},
    "heads.region_trunk": {"RegionTrunk": "RegionFeatureExtractor"},
    "heads.yolo": {
        "crowds": "detkit.heads.assignment.crowd_mask",
        "flattened": "flatten_levels",
        "in_crowd": "detkit.heads.assignment.inside_crowd",
    },
}
"""By the old name of a module, without ``detkit.`` before it, of each old name in it the one of now."""
