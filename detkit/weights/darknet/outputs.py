"""Darknet's output layers: activation of their input in darknet's order, and decoding to boxes and scores.

A score is the probability of an object of the class in the box: objectness times that of the class.

`detkit.boxes.CellCoder` decodes outputs before activation; here they are activated, in some cfgs by the network itself.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.boxes import cell_corners
from detkit.weights.darknet.cfg import Section
from detkit.weights.darknet.layers import Layer, Shape
from detkit.weights.darknet.tree import ClassTree

HIERARCHY_THRESHOLD = 0.5  # darknet's minimum probability of a class in a tree


class OutputLayer(Layer):
    """Base class of layers that output boxes.

    Attributes:
        classes: number of classes.
    """

    classes: int

    def candidates(self, output: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """All boxes of `output` with the score of each class.

        Args:
            output: of `forward` for a batch.
            input_size: (height, width) of the network's input in pixels.

        Returns:
            Boxes ``(B, N, 4)`` in pixels of the network's input, not clipped, and scores ``(B, N, classes)``.
        """
        raise NotImplementedError


class Yolo(OutputLayer):
    """``[yolo]`` of YOLOv3 (sections 2.1, 2.2) and, with ``scale_x_y`` and ``new_coords``, of YOLOv4 and Scaled-YOLOv4.

    ``x = (cx + sx) / W`` and ``w = anchor exp(tw)``; with ``new_coords``, where the convolution before activates the
    values, ``w = anchor (2 sw)^2``. Anchors are in pixels.
    """

    coordinates = 4
    anchors: Tensor

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = shape
        self.classes, total = section.positive("classes", 20), section.positive("num", 1)
        anchors = section.anchors()
        mask = section.integers("mask") or list(range(total))
        if not all(0 <= index < len(anchors) for index in mask):
            raise section.error(f"mask {mask[:12]} asks for more than the {len(anchors)} anchors given", "mask")
        self.register_buffer("anchors", torch.tensor([anchors[index] for index in mask]), persistent=False)
        self.scale = section.number("scale_x_y", 1)
        if section.text("nms_kind", "default") not in ("default", "greedynms"):
            warnings.warn(f"{section.file}: nms_kind={section.text('nms_kind')} is read as greedynms", stacklevel=2)
        self.activated = bool(section.integer("new_coords", 0))
        _check_channels(section, shape, len(mask), self.coordinates + 1 + self.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self._per_anchor(x)
        centers, sizes, confidences = x[:, :, :2], x[:, :, 2:4], x[:, :, 4:]
        if not self.activated:
            centers, confidences = centers.sigmoid(), confidences.sigmoid()
        return torch.cat((_stretched(centers, self.scale), sizes, confidences), dim=2).flatten(1, 2)

    def candidates(self, output: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        output = self._per_anchor(output.float())
        sizes = output[:, :, 2:4]
        sizes = 4 * sizes.square() if self.activated else sizes.exp()
        boxes = _boxes(output[:, :, :2], sizes * self.anchors[:, :, None, None], input_size)
        return boxes, _scores(output[:, :, 4:5] * output[:, :, 5:])

    def _per_anchor(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, 1, (len(self.anchors), -1))  # (B, A, coordinates + 1 + classes, H, W)


class GaussianYolo(Yolo):
    """``[Gaussian_yolo]`` (Choi 2019): each coordinate with its uncertainty; their mean lowers the scores (eq. 9)."""

    coordinates = 8

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__(section, shape, earlier)
        if section.text("yolo_point", "center") != "center":
            raise section.error("only yolo_point=center is supported", "yolo_point")

    def forward(self, x: Tensor) -> Tensor:
        x = self._per_anchor(x)
        means, uncertainties, confidences = x[:, :, 0:8:2], x[:, :, 1:8:2].sigmoid(), x[:, :, 8:].sigmoid()
        centers = _stretched(means[:, :, :2].sigmoid(), self.scale)
        means = torch.cat((centers, means[:, :, 2:]), dim=2)
        boxes = torch.stack((means, uncertainties), dim=3).flatten(2, 3)
        return torch.cat((boxes, confidences), dim=2).flatten(1, 2)

    def candidates(self, output: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        output = self._per_anchor(output.float())
        sizes = output[:, :, 4:8:2].exp() * self.anchors[:, :, None, None]
        boxes = _boxes(output[:, :, 0:4:2], sizes, input_size)
        certainty = 1 - output[:, :, 1:8:2].mean(dim=2, keepdim=True)
        return boxes, _scores(output[:, :, 8:9] * output[:, :, 9:] * certainty)


class Region(OutputLayer):
    """``[region]`` of YOLOv2 (section 2): anchors in cells of the map, classes by softmax.

    With a tree of classes (section 4) a box has one class, the deepest one of sufficient probability, and its score is
    the objectness.
    """

    anchors: Tensor

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("background", "log", "sqrt")
        if section.integer("coords", 4) != 4:
            raise section.error("only coords=4 is supported", "coords")
        self.shape, self.classes = shape, section.positive("classes", 20)
        number, anchors = section.positive("num", 1), section.anchors()
        if len(anchors) < number:
            raise section.error(f"num={number} anchors need {2 * number} numbers, got {2 * len(anchors)}", "anchors")
        self.register_buffer("anchors", torch.tensor(anchors[:number]), persistent=False)
        self.softmax = bool(section.integer("softmax", 0))
        self.tree = ClassTree(section, self.classes) if section.text("tree") else None
        _check_channels(section, shape, number, 5 + self.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.unflatten(x, 1, (len(self.anchors), -1))
        classes = x[:, :, 5:]
        if self.tree is not None:
            classes = self.tree.softmax(classes.movedim(2, -1)).movedim(-1, 2)
        else:
            classes = classes.softmax(dim=2) if self.softmax else classes.sigmoid()
        return torch.cat((x[:, :, :2].sigmoid(), x[:, :, 2:4], x[:, :, 4:5].sigmoid(), classes), dim=2).flatten(1, 2)

    def candidates(self, output: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        output = torch.unflatten(output.float(), 1, (len(self.anchors), -1))
        cell = output.new_tensor([input_size[1] / output.shape[4], input_size[0] / output.shape[3]])
        sizes = output[:, :, 2:4].exp() * (self.anchors * cell)[:, :, None, None]
        boxes, classes = _boxes(output[:, :, :2], sizes, input_size), output[:, :, 5:]
        if self.tree is not None:
            probabilities = self.tree.absolute(classes.movedim(2, -1))
            named = self.tree.descend(probabilities.flatten(0, -2), HIERARCHY_THRESHOLD)
            named = F.one_hot(named, self.classes).view_as(probabilities)
            classes = named.to(probabilities).movedim(-1, 2)
        return boxes, _scores(output[:, :, 4:5] * classes)


class Grid(OutputLayer):
    """``[detection]`` of YOLOv1 (section 2): classes of each cell, then confidences, then boxes, one vector."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("reorg")
        self.shape, self.classes = shape, section.positive("classes", 1)
        self.side, self.number = section.positive("side", 7), section.positive("num", 1)
        self.squared, self.softmax = bool(section.integer("sqrt", 0)), bool(section.integer("softmax", 0))
        expected, given = self.side**2 * (self.classes + 5 * self.number), shape[0] * shape[1] * shape[2]
        if section.integer("coords", 1) != 4 or given != expected:
            raise section.error(
                f"coords must be 4, and its input side^2 (classes + 5 num) = {expected} numbers; it has {given}"
            )

    def forward(self, x: Tensor) -> Tensor:
        if not self.softmax:
            return x
        cells = self.side**2
        classes, rest = torch.split(x.flatten(1), [cells * self.classes, cells * 5 * self.number], dim=1)
        classes = torch.unflatten(classes, 1, (-1, self.classes)).softmax(dim=2).flatten(1)
        return torch.cat((classes, rest), dim=1).view_as(x)

    def candidates(self, output: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        cells = self.side**2
        parts = [cells * self.classes, cells * self.number, cells * self.number * 4]
        classes, confidences, boxes = torch.split(output.float().flatten(1), parts, dim=1)
        scores = classes.view(-1, cells, 1, self.classes) * confidences.view(-1, cells, self.number, 1)
        boxes = boxes.view(-1, self.side, self.side, self.number, 4).permute(0, 3, 4, 1, 2)
        sizes = boxes[:, :, 2:].square() if self.squared else boxes[:, :, 2:]
        sizes = sizes * sizes.new_tensor([input_size[1], input_size[0]])[:, None, None]
        boxes = torch.unflatten(_boxes(boxes[:, :, :2], sizes, input_size), 1, (self.number, cells)).transpose(1, 2)
        return boxes.flatten(1, 2), scores.flatten(1, 2)


def _stretched(centers: Tensor, scale: float) -> Tensor:
    """Centers that can reach the edges of their cells (YOLOv4, "eliminate grid sensitivity")."""
    return centers if scale == 1 else centers * scale - 0.5 * (scale - 1)


def _boxes(offsets: Tensor, sizes: Tensor, input_size: tuple[int, int]) -> Tensor:
    """Boxes ``(B, A * H * W, 4)`` in pixels, of centers `offsets` into their cells and `sizes` in pixels.

    Both are ``(B, A, 2, H, W)``, x and width first.
    """
    height, width = offsets.shape[-2:]
    cell = offsets.new_tensor([input_size[1] / width, input_size[0] / height])
    centers = (offsets.movedim(2, -1) + cell_corners((height, width), offsets)) * cell
    halves = sizes.movedim(2, -1) / 2
    return torch.cat((centers - halves, centers + halves), dim=-1).flatten(1, 3)


def _scores(scores: Tensor) -> Tensor:
    """``(B, A, classes, H, W)`` to ``(B, A * H * W, classes)``."""
    return scores.movedim(2, -1).flatten(1, 3)


def _check_channels(section: Section, shape: Shape, anchors: int, numbers: int) -> None:
    if shape[0] != anchors * numbers:
        raise section.error(
            f"{anchors} anchors with {numbers} numbers each need filters={anchors * numbers} in the layer before, "
            f"which has {shape[0]}"
        )
