"""COCO's evaluation: its protocol, its two backends, and what is derived from its results."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "CocoEvaluator": "detkit.evaluation.coco.coco_evaluator.CocoEvaluator",
    },
)
