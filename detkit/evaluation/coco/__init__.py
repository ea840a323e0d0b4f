"""COCO's evaluation: its protocol, who computes it, and what is derived from it."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "CocoEvaluator": "detkit.evaluation.coco.coco_evaluator.CocoEvaluator",
    },
)
