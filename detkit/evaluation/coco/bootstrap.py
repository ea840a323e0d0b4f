"""Confidence intervals of COCO's numbers by the bootstrap (Efron 1979; Hesterberg, "What Teachers Should Know About the
Bootstrap", The American Statistician 69, 2015)."""

from __future__ import annotations

import numpy as np

from detkit.evaluation.coco.coco_evaluation import CocoEvaluation, check_native
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.evaluation.coco.weighted_coco import WeightedCoco
from detkit.evaluation.weighting.image_weighting import drawn_weights
from detkit.evaluation.weighting.intervals import Interval, check_resampling, student_interval


def bootstrap(
    evaluation: CocoEvaluation, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """A confidence interval for each of COCO's numbers, which it always contains.

    It is Student's interval with the bootstrap's standard error (Hesterberg 2015, section 5.1), computed on the scale
    ``arcsin(sqrt(number))``, on which the error depends little on the number and an interval stays in 0..1. The
    percentiles of the samples would not do: images that are drawn twice raise the precision, so that on small data sets
    the number itself can lie outside of them.

    The intervals measure how much the numbers depend on the choice of the images, not on the randomness of training.
    With fewer than about 50 images of a class they are somewhat too narrow; one image alone has none.

    Args:
        evaluation: whose numbers the intervals are for.
        samples: the number of resampled data sets.
        confidence: the share of data sets whose interval contains the number of all images of that kind.
        seed: the same seed gives the same intervals.

    Raises:
        InputError: `samples` or `confidence` is out of range, or the native kernels were not built.
    """
    check_resampling(samples, confidence)
    check_native("bootstrap")
    names, images = list(evaluation.metrics), len(evaluation.ground_truth.image_ids)
    if not images or not evaluation.categories:
        return dict.fromkeys(names, Interval(NOTHING_TO_MEASURE, NOTHING_TO_MEASURE))
    drawn = resample(evaluation, samples, seed)
    return {
        name: student_interval(evaluation.metrics[name], values, images, confidence)
        for name, values in zip(names, drawn.T, strict=True)
    }


def resample(evaluation: CocoEvaluation, samples: int, seed: int = 0) -> np.ndarray:
    """``(samples, numbers)`` COCO's numbers of data sets drawn from the images with replacement.

    Detections are matched to objects once; each sample only reweights the images.
    """
    weighted = WeightedCoco(
        evaluation.ground_truth,
        evaluation.detections,
        evaluation.iou_type,
        evaluation.protocol,
        evaluation.keypoint_sigmas,
    )
    images = len(evaluation.ground_truth.image_ids)
    return np.array([list(weighted.numbers(one).of_all.values()) for one in drawn_weights(images, samples, seed)])
