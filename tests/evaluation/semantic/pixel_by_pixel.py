"""The numbers of semantic segmentation, pixel by pixel from their definitions: for tests alone."""

import cv2
import numpy as np

NOTHING = -1.0


def by_definition(pairs, classes, boundary=False):
    """The numbers of all classes and of each, from masks of each class; of lists of label maps with -1 for void."""
    hits, truths, answers, near_hits, near_unions = (np.zeros(classes) for _ in range(5))
    right = counted = 0.0
    for truth, answer in pairs:
        is_counted = truth >= 0
        counted += is_counted.sum()
        right += (is_counted & (truth == answer)).sum()
        for label in range(classes):
            own, given = truth == label, (answer == label) & is_counted
            hits[label] += (own & given).sum()
            truths[label] += own.sum()
            answers[label] += given.sum()
            if boundary:
                near, near_given = near_boundary(own), near_boundary(given)
                near_hits[label] += (near & near_given).sum()
                near_unions[label] += (near | near_given).sum()
    iou = share(hits, truths + answers - hits)
    numbers = {
        "mIoU": mean(iou),
        "fwIoU": float((np.maximum(iou, 0) * truths).sum() / counted) if counted else NOTHING,
        "mAcc": mean(share(hits, truths)),
        "aAcc": float(right / counted) if counted else NOTHING,
        "mDice": mean(share(2 * hits, truths + answers)),
    }
    if boundary:
        numbers["mBoundaryIoU"] = mean(share(near_hits, near_unions))
    return numbers, iou


def share(part, whole):
    return np.array([one / all_ if all_ else NOTHING for one, all_ in zip(part, whole, strict=True)])


def mean(values):
    measured = [value for value in values if value != NOTHING]
    return float(np.mean(measured)) if measured else NOTHING


def near_boundary(mask):
    """Cheng et al. 2021: the mask without its erosion by as many 3 x 3 squares as 2 % of the diagonal has pixels; the
    image's border is a boundary."""
    height, width = mask.shape
    steps = max(1, round(0.02 * np.sqrt(height**2 + width**2)))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=steps)[1:-1, 1:-1]
    return mask & (eroded == 0)
