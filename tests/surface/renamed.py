"""What users of 0e2a452 could name and is named otherwise now, or derived; `CHANGELOG.md` says the same in words."""

from __future__ import annotations

# Module-level public names that no package exported and that are gone, and why: {"detkit.x.y.name": "reason"}.
MISSING_NAMES: dict[str, str] = {
    **dict.fromkeys(
        [f"detkit.models.preprocess.{name}" for name in ("Objects", "scaled", "scaled_boxes", "shifted")],
        "moving is done by detkit.geometry.Placement alone",
    ),
    **dict.fromkeys(
        [
            f"detkit.engine.evaluating.{name}"
            for name in (
                "Evaluation",
                "FullClassificationEvaluator",
                "FullCocoEvaluator",
                "FullLocalizationEvaluator",
                "FullVocEvaluator",
                "Remembers",
            )
        ],
        "every evaluator remembers its evaluation",
    ),
    **dict.fromkeys(
        ["detkit.engine.tasks.kinds_of", "detkit.engine.tasks.make_evaluator", "detkit.models.detector.Task"],
        "a task is an object of detkit.tasks",
    ),
    **dict.fromkeys(
        [
            *(f"detkit.data.moved.{name}" for name in ("assemble", "settled_keypoints")),
            *(f"detkit.data.window.{name}" for name in ("PADDING", "Window")),
        ],
        "pictures and targets are moved by detkit.geometry.Placement and the kinds of their fields",
    ),
    **dict.fromkeys(
        [
            *(f"detkit.heads.levels.{name}" for name in ("Candidates", "likeliest", "select")),
            "detkit.heads.ssd.best_of_each",
            "detkit.heads.yolo.select_uncut",
        ],
        "selecting detections is a part, detkit.heads.Postprocess",
    ),
    **dict.fromkeys(
        [
            *(f"detkit.heads.levels.{name}" for name in ("Pairs", "class_losses", "foreground_pairs")),
            "detkit.heads.yolo.IGNORE_COVERAGE",
            "detkit.heads.yolo_v3.cross_entropy",
        ],
        "losses and assignment of dense heads are in detkit.losses and detkit.heads.assignment",
    ),
    "detkit.engine.cli.USAGE": "the usage is made of the commands, detkit.engine.cli.usage()",
    "detkit.engine.checkpoint.DOTTED": "what a checkpoint may build is in detkit.engine.trust",
    "detkit.engine.training.SGD": "the optimizer's part of the config is declared in detkit.engine.learning",
}

_THRESHOLDS = {
    "detections": "postprocess.detections",
    "score_threshold": "postprocess.score_threshold",
    "nms_threshold": "postprocess.iou_threshold",
    "candidates": "postprocess.candidates",
}
_OF_BOX_HEADS = {
    "detections_per_image": "postprocess.detections",
    "score_threshold": "postprocess.score_threshold",
    "nms_threshold": "postprocess.iou_threshold",
}
_OF_HEADS = {
    "box.BoxHead": _OF_BOX_HEADS,
    "svm_box.SVMBoxHead": _OF_BOX_HEADS,
    "overfeat.OverFeatHead": {
        **_OF_BOX_HEADS,
        "candidates": "postprocess.candidates",
        "match_threshold": "postprocess.match_threshold",
        "resolve": "postprocess: MergeBoxes or NMS",
    },
    "rpn.RPN": {
        "nms_threshold": "postprocess.iou_threshold, postprocess_for_training.iou_threshold",
        "score_threshold": "postprocess.score_threshold, postprocess_for_training.score_threshold",
        "candidates": "postprocess.candidates",
        "proposals": "postprocess.detections",
        "candidates_for_training": "postprocess_for_training.candidates",
        "proposals_for_training": "postprocess_for_training.detections",
    },
    **dict.fromkeys(
        (
            "fcos.FCOSHead",
            "retinanet.RetinaNetHead",
            "ssd.SSDHead",
            "ssd.SSDliteHead",
            "yolo.YOLOHead",
            "yolo_v1.YOLOv1Head",
            "yolo_v2.YOLOv2Head",
            "yolo_v3.YOLOv3Head",
            "yolo_v4.YOLOv4Head",
        ),
        _THRESHOLDS,
    ),
}
_FLAGS = {"with_masks": "reads: [masks]", "with_keypoints": "reads: [keypoints]"}

# Parameters of exported classes and functions that are not in their signature any more but are taken with a warning:
# {"detkit.x.y.Name.old": "new"}.
RENAMED_PARAMETERS: dict[str, str] = {
    **{
        f"detkit.heads.{head}.{old}": new
        for head, names in _OF_HEADS.items()
        if head not in ("svm_box.SVMBoxHead", "ssd.SSDliteHead")  # which take any
        for old, new in names.items()
    },
    **{
        f"detkit.data.{owner}.{flag}": new
        for owner in ("coco.CocoDataset", "datamodule.DataModule", "formats.open_split")
        for flag, new in _FLAGS.items()
    },
    **{f"detkit.data.{owner}.with_masks": _FLAGS["with_masks"] for owner in ("voc.VocDataset", "yolo_txt.YoloDataset")},
}

# Config keys that are no longer declared under their name, but are read with a warning, and what to write instead:
# {"train data.old": "data.new"} for a command's, {"detkit.x.y.Class old": "new"} for a class's init_args.
RENAMED_KEYS: dict[str, str] = {
    **{
        f"{command} data.{flag}": f"data.{new}"
        for command in ("eval", "fit_svms", "proposals", "train")
        for flag, new in _FLAGS.items()
    },
    **{f"detkit.heads.{head} {old}": new for head, names in _OF_HEADS.items() for old, new in names.items()},
    "visualize trunk": "backbone",
    **{f"detkit.data.datamodule.DataModule {flag}": new for flag, new in _FLAGS.items()},
}

# Files of tools/ that were no commands, and where they are.
PARTS_OF_COMMANDS = {
    f"benchmark_{name}.py": f"tools/benchmarks/{name}.py" for name in ("coco", "dense", "models", "ops", "proposals")
}
