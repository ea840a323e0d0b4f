"""Functions, classes and constants of moved modules that have other names now; for one release.

Names of modules that have not moved stand in a `detkit.deprecation.moved_names` of the module itself.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED_NAMES: Mapping[str, Mapping[str, str]] = {
    "backbones.catalogue": {"catalogue": "catalog"},
    "engine.explain": {"explain": "describe_parse_error"},
    "engine.pictures": {"Pictures": "ValidationImages"},
    "evaluation.tide": {"analyse_errors": "analyze_errors"},
}
"""By the old name of a module, without ``detkit.`` before it, of each old name in it the one of now."""
