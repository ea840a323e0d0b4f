"""The OverFeat head: a classifier and a box regressor that slide over the map (Sermanet et al. 2013).

B  images     P  positions of an image     K  classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import EdgeCoder
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.activations import softmax_with_background, subtract_background
from detkit.heads.assignment import CERTAIN, NO_OBJECT, AssignedCandidates, assign_objects
from detkit.heads.box_merge import MergeBoxes
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, batch_candidates
from detkit.heads.old_arguments import OLD_ATTRIBUTES, MovedResolve
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.matching import Matcher, random_keys


class OverFeatOutput(NamedTuple):
    """The outputs at ``P`` positions of all levels, finest level first, each in the order (y, x).

    Args:
        logits: class logits ``(B, P, K + 1)``, background last.
        edges: encoded box edges ``(B, P, K, 4)``, one box for each class.
        windows: ``(P, 4)``, the window of each position in pixels of the padded batch.
    """

    logits: Tensor
    edges: Tensor
    windows: Tensor


class Sample(NamedTuple):
    """Windows of each image, in rows of one length.

    Args:
        windows: ``(B, M)`` int64.
        is_drawn: ``(B, M)`` bool; the other entries fill up rows and mean nothing.
    """

    windows: Tensor
    is_drawn: Tensor


def offset_max_pool(x: Tensor, size: int) -> Tensor:
    """Max-pooling ``size x size`` at every offset in 0..size-1 along both axes, interleaved (OverFeat, section 3.3).

    Cell ``(i, j)`` of the pooling with offset ``(dy, dx)`` is cell ``(size * i + dy, size * j + dx)`` of the result, so
    that this is pooling with stride 1. A convolution with ``dilation=size`` on it reads the cells of one offset, and
    gives the outputs of all offsets interleaved, each computed once.

    Args:
        x: ``(B, C, H, W)``.
        size: window and stride of the pooling.

    Returns:
        ``(B, C, H - size + 1, W - size + 1)``.
    """
    return F.max_pool2d(x, size, stride=1)


class OverFeatHead(DenseHead):
    """Classes and per-class boxes of a window around every cell (sections 3.3, 4 and 5).

        map -> offset max-pooling -+-> fully connected layers, as convolutions -> K + 1 class logits
                                   +-> fully connected layers, as convolutions -> K boxes, as the edges of the window

    A window is ``pool * window`` cells wide. The levels are maps of one backbone at several scales of the image: they
    share the layers, and windows of the same number of cells detect objects of all sizes. A level smaller than a window
    is padded to one.

    Args:
        in_channels: channels of each level, all the same.
        strides: pixels per cell of each level, finest first.
        num_classes: classes without background.
        pool: window of the last pooling in cells.
        window: height and width of the input of the first fully connected layer, in pooled cells.
        class_hidden: widths of the classifier's hidden layers.
        box_hidden: widths of the regressor's hidden layers.
        foreground_iou: least IoU of a window with the object that it learns; the box regression of windows further
            away would not generalize (section 4.2).
        background_iou: windows with a lower IoU learn background; those between learn nothing.
        keep_best: let the best windows of each object learn it even if their IoU is lower.
        positives_per_image: most foreground windows per image, drawn at random.
        negatives_per_image: background windows per image, half of them drawn at random, half those with the lowest
            probability of background (section 5).
        postprocess: None is `MergeBoxes` (section 4.3) with ``score_threshold=0.05`` of the class probability of a
            window and ``detections=100``; `NMS` has ``iou_threshold=0.5`` and no limit of candidates.

    Raises:
        InputError: the levels differ in channels, or there are not as many strides as channels.
    """

    usual_postprocess = MergeBoxes
    old_attributes: ClassVar = {**OLD_ATTRIBUTES, "match_threshold": ("postprocess.match_threshold",)}
    resolve = MovedResolve()
    own_values: ClassVar = {
        "postprocess": dict(score_threshold=0.05, iou_threshold=0.5, detections=100, least_side=1e-2)
    }

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[float],
        num_classes: int,
        pool: int = 3,
        window: int = 5,
        class_hidden: Sequence[int] = (4096, 4096),
        box_hidden: Sequence[int] = (4096, 1024),
        foreground_iou: float = 0.5,
        background_iou: float = 0.3,
        keep_best: bool = True,
        positives_per_image: int = 64,
        negatives_per_image: int = 64,
        postprocess: MergeBoxes | NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        if len(set(in_channels)) != 1:
            raise InputError(f"OverFeatHead shares its layers over all levels, but they have channels {in_channels}")
        if len(in_channels) != len(strides):
            raise InputError(f"OverFeatHead got levels with channels {in_channels} but with strides {strides}")
        self.strides = list(strides)
        self.num_classes = num_classes
        self.pool, self.window = pool, window
        self.classes, last_of_classes = self._dense_layers([in_channels[0], *class_hidden, num_classes + 1])
        self.edges, last_of_edges = self._dense_layers([in_channels[0], *box_hidden, num_classes * 4])
        _init_last_(last_of_classes, 0.01)
        _init_last_(last_of_edges, 0.001)

        self.coder = EdgeCoder()
        self.matcher = Matcher(foreground_iou, background_iou, keep_best)
        self.positives_per_image = positives_per_image
        self.negatives_per_image = negatives_per_image
        self.postprocess = postprocess

    def _dense_layers(self, widths: Sequence[int]) -> tuple[nn.Sequential, nn.Conv2d]:
        """Fully connected layers on windows of the pooled map, as convolutions, and the last of them.

        The first is as wide as a window, the others are 1 x 1.
        """
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            first = not layers
            layer = nn.Conv2d(fan_in, fan_out, self.window if first else 1, dilation=self.pool if first else 1)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            layers += [layer, nn.ReLU(inplace=True)]
        return nn.Sequential(*layers[:-1]), layer

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The logits with background last, and the box of each class."""
        return {
            f"classes.{len(self.classes) - 1}": ClassRows(partial(_init_last_, deviation=0.01), after=1),
            f"edges.{len(self.edges) - 1}": ClassRows(partial(_init_last_, deviation=0.001), values=4),
        }

    def forward(self, features: list[Tensor], context: Context) -> OverFeatOutput:
        """Classify and regress the window around every cell of every level `features` ``(B, C, Hi, Wi)``."""
        logits, edges, windows = [], [], []
        for feature, stride in zip(features, self.strides, strict=True):
            pooled = offset_max_pool(self._pad_to_window(feature), self.pool)
            classes = self.classes(pooled)
            logits.append(classes.flatten(2).transpose(1, 2))
            edges.append(self.edges(pooled).flatten(2).transpose(1, 2).unflatten(2, (self.num_classes, 4)))
            windows.append(self._windows(classes, stride, context.batch.padded_size))
        return OverFeatOutput(torch.cat(logits, dim=1), torch.cat(edges, dim=1), torch.cat(windows))

    def losses(self, raw: OverFeatOutput, context: Context) -> dict[str, Tensor]:
        """The losses of a sample of windows.

        Returns:
            ``overfeat_cls``, cross-entropy over the classes and background, mean over the sampled windows;
            ``overfeat_box``, half the squared distance of the encoded edges, mean over the foreground windows.
        """
        logits, edges = raw.logits.float(), raw.edges.float()
        rows = self.assign(raw, context).view(logits.shape[:2])
        positives, negatives = self._sample(rows, logits.detach(), context.generator)
        objects = context.objects
        # An extra row for what fills up the sample of an image: background, and any box.
        labels = torch.cat((objects.labels, objects.labels.new_full((1,), self.num_classes)))
        boxes = torch.cat((objects.boxes, objects.boxes.new_tensor([[0.0, 0.0, 1.0, 1.0]])))
        matched = torch.where(positives.is_drawn, rows.gather(1, positives.windows), len(objects.labels))

        classes = torch.cat((labels[matched], torch.full_like(negatives.windows, self.num_classes)), dim=1)
        windows = torch.cat((positives.windows, negatives.windows), dim=1)
        is_drawn = torch.cat((positives.is_drawn, negatives.is_drawn), dim=1)
        image = torch.arange(len(rows), device=rows.device)[:, None]
        errors = F.cross_entropy(logits[image, windows].transpose(1, 2), classes, reduction="none")

        targets = self.coder.encode(raw.windows[positives.windows], boxes[matched])
        of_label = edges[image, positives.windows, labels[matched].clamp(max=self.num_classes - 1)]
        distances = F.mse_loss(of_label, targets, reduction="none").sum(dim=2) / 2
        return {
            "overfeat_cls": torch.where(is_drawn, errors, 0).sum() / mean_count(is_drawn.sum()),
            "overfeat_box": torch.where(positives.is_drawn, distances, 0).sum() / mean_count(positives.is_drawn.sum()),
        }

    @torch.no_grad()
    def decode_padded(self, raw: OverFeatOutput, context: Context) -> PaddedBoxes:
        """The boxes above the threshold at all positions and scales, merged or suppressed."""
        scores = raw.logits.float().softmax(dim=2)[..., : self.num_classes]
        image, window, labels, scores = self.postprocess.topk_candidates(scores)
        boxes = self.coder.decode(raw.windows[window], raw.edges[image, window, labels])
        return self.postprocess.suppress_padded(boxes, scores, labels, image, context.batch.sizes)

    def candidates(self, raw: OverFeatOutput, context: Context) -> Candidates:
        """The box of the top class of each window; logits are relative to that of background."""
        top_class = raw.logits[..., : self.num_classes].argmax(dim=2)
        edges = raw.edges.take_along_dim(top_class[..., None, None], dim=2).squeeze(2)
        boxes = self.coder.decode(raw.windows, edges)
        return batch_candidates(boxes, subtract_background(raw.logits), activation=softmax_with_background)

    @torch.no_grad()
    def assign(self, raw: OverFeatOutput, context: Context) -> Tensor:
        """The object that each window is to predict ``(B * P,)``, by its IoU; see `DenseHead.assign`.

        Only a sample of foreground and background windows is learned.
        """
        return assign_objects(self.matcher, raw.windows, context.objects).flatten()

    @torch.no_grad()
    def ideal(self, raw: OverFeatOutput, context: Context) -> OverFeatOutput:
        """Exact edges and sure classes of the windows with an object; see `DenseHead.ideal`."""
        logits, edges = raw.logits.new_full(raw.logits.shape, -CERTAIN), raw.edges.new_zeros(raw.edges.shape)
        own = AssignedCandidates.of(self.assign(raw, context), context.objects)
        logits[..., -1] = CERTAIN
        logits.flatten(0, 1)[own.candidates, -1] = -CERTAIN
        logits.flatten(0, 1)[own.candidates, own.labels] = own.logits.to(logits)
        encoded = self.coder.encode(raw.windows[own.candidates % len(raw.windows)], own.boxes)
        edges.flatten(0, 1)[own.candidates, own.labels] = encoded.to(edges)
        return OverFeatOutput(logits, edges, raw.windows)

    def _pad_to_window(self, feature: Tensor) -> Tensor:
        missing = [max(0, self.pool * self.window - cells) for cells in feature.shape[-2:]]
        top, left = missing[0] // 2, missing[1] // 2
        return F.pad(feature, (left, missing[1] - left, top, missing[0] - top))

    def _windows(self, positions: Tensor, stride: float, padded_size: tuple[int, int]) -> Tensor:
        """The windows ``(Hi * Wi, 4)`` of one level, centered on the image: the backbone loses as much on each side."""
        axes = []
        for count, pixels in zip(positions.shape[-2:], padded_size, strict=True):
            steps = torch.arange(count, device=positions.device, dtype=torch.float32)
            axes.append((pixels - (count - 1) * stride) / 2 + steps * stride)
        y, x = torch.meshgrid(*axes, indexing="ij")
        centers = torch.stack((x, y), dim=-1).flatten(0, 1)
        half = self.pool * self.window * stride / 2
        return torch.cat((centers - half, centers + half), dim=1)

    def _sample(self, rows: Tensor, logits: Tensor, generator: torch.Generator | None) -> tuple[Sample, Sample]:
        """The sampled foreground windows of each image, and the sampled background windows.

        Args:
            rows: ``(B, P)``, the object of each window, as `assign` gives it.
            logits: ``(B, P, K + 1)``.
            generator: of random numbers.
        """
        keys = random_keys(rows, generator)
        positives = _top(keys.masked_fill(rows < 0, -1), self.positives_per_image)

        is_background = rows == NO_OBJECT
        count = is_background.sum(dim=1, keepdim=True).clamp(max=self.negatives_per_image)
        hardest = count // 2
        random = _top(keys.masked_fill(~is_background, -1), (self.negatives_per_image + 1) // 2, count - hardest)
        is_left = is_background.scatter(1, random.windows, is_background.gather(1, random.windows) & ~random.is_drawn)
        as_background = logits.log_softmax(dim=2)[..., self.num_classes]
        offending = torch.where(is_left, -as_background, -1)
        hard = _top(offending, self.negatives_per_image // 2, hardest)
        windows, is_drawn = (torch.cat(parts, dim=1) for parts in zip(random, hard, strict=True))
        return positives, Sample(windows, is_drawn)


def _init_last_(layer: nn.Conv2d, deviation: float) -> None:
    nn.init.normal_(layer.weight, std=deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _top(values: Tensor, most: int, counts: Tensor | None = None) -> Sample:
    """Of each image the `most` windows with the greatest `values` ``(B, P)``, at most `counts` ``(B, 1)`` of them; one
    with a negative value is not drawn."""
    greatest, windows = values.topk(min(most, values.shape[1]), dim=1)
    is_drawn = greatest >= 0
    if counts is not None:
        is_drawn &= torch.arange(windows.shape[1], device=windows.device) < counts
    return Sample(windows, is_drawn)
