"""COCO's evaluation."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "CocoEvaluator": "detkit.evaluation.coco.coco_evaluator.CocoEvaluator",
    },
)
