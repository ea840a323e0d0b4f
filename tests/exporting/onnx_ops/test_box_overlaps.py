"""IoU in ONNX Runtime."""

import numpy as np
import pytest
import torch
from onnxruntime_op import in_onnxruntime
from test_box_suppression import random_boxes

from detkit.ops import box_iou


def test_the_same_iou(tmp_path):
    run = in_onnxruntime(box_iou, (random_boxes(5, 0)[0], random_boxes(7, 1)[0]), tmp_path)
    for first, second in ((0, 4), (3, 0), (40, 60)):
        boxes1, boxes2 = random_boxes(first, 2)[0], random_boxes(second, 3)[0]
        boxes1[::5, 2:] = boxes1[::5, :2]
        boxes2[::5, 2:] = boxes2[::5, :2]
        np.testing.assert_allclose(run(boxes1, boxes2)[0], box_iou(boxes1, boxes2).numpy(), atol=1e-6)


def test_modes_for_losses_are_not_exported(tmp_path):
    with pytest.raises(Exception, match="box_iou in mode 'giou' serves losses"):
        in_onnxruntime(lambda a, b: box_iou(a, b, "giou"), (torch.rand(5, 4), torch.rand(7, 4)), tmp_path)
