"""Renamed functions, classes and constants of moved modules, for one release.

A module that has not moved has its own `detkit.deprecation.moved_names`.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED_NAMES: Mapping[str, Mapping[str, str]] = {
    "backbones.catalogue": {"catalogue": "catalog", "trunk": "backbone"},
    "data.annotations": {
        "is_numbers": "detkit.files.json_values.is_finite_numbers",
        "read_json": "read_coco_file",
    },
    "data.moved": {"move_through": "apply_placement", "tightened": "tighten_boxes"},
    "data.problems": {"stop_at": "raise_problems"},
    "data.yolo_txt": {"is_yolo": "detkit.data.formats.yolo_yaml.is_yolo"},
    "evaluation.classification": {"answered_classes": "top_classes"},
    "evaluation.coco_json": {"are_finite_numbers": "detkit.files.json_values.is_finite_numbers"},
    "evaluation.native": {"objects_to_find": "count_objects"},
    "evaluation.packed": {"Found": "PackedDetections", "Objects": "PackedObjects"},
    "evaluation.tide": {"WRONG": "ERROR_KINDS", "analyse_errors": "analyze_errors"},
    "models.preprocess": {
        "Size": "detkit.geometry.Size",
        "corner_resize": "detkit.preprocess.letterbox.corner_resize",
    },
    "weights.darknet_layers": {
        name: f"detkit.weights.darknet.weighted_layers.{name}"
        for name in ("BatchNorm", "Connected", "Convolutional", "Deconvolutional", "Local", "Normalization")
    },
    "weights.loading": {
        "renamed": "rename_prefix",
        "set_batch_norm_epsilon": "detkit.backbones.frozen_batch_norm.set_batch_norm_epsilon",
    },
    "proposals.grouping": {"COLOUR": "COLOR", "COLOUR_BINS": "COLOR_BINS"},
    "engine.explain": {"explain": "describe_parse_error"},
    "engine.tasks": {"monitored": "monitored_metric"},
    "engine.pictures": {"Pictures": "ValidationImages"},
    "visualization.layers": {"evaluating": "eval_mode", "recorded": "record_layers"},
    "visualization.pictures": {"to_picture": "to_image_array"},
    "visualization.subjects": {
        "FoundObject": "DetectionTarget",
        "ImageClass": "ClassTarget",
        "Subject": "AttributionTarget",
        "WarpedRegion": "WarpedRegionTarget",
        "found_object": "detection_target",
    },
    "heads.levels": {"per_place": "flatten_predictions", "rare": "init_focal_bias_", "small": "init_normal_"},
    "heads.mask": {"crop_masks": "detkit.heads.region.mask_targets.crop_masks"},
    "heads.region_trunk": {"RegionTrunk": "RegionFeatureExtractor"},
    "heads.ssd": {"hardest": "select_hardest"},
    "heads.yolo": {
        "crowds": "detkit.heads.assignment.crowd_mask",
        "flattened": "flatten_levels",
        "in_crowd": "detkit.heads.assignment.inside_crowd",
    },
}
"""By the old name of a module without the prefix ``detkit.``, from each old name in it to the new one."""

RENAMED_CLASSES: Mapping[str, str] = {"YOLOv1Trunk": "YOLOv1Backbone"}
"""From the old name of each class that a config can name to the new one."""
