"""Matching of candidate boxes to objects by IoU, and balanced sampling of the matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.ops.best_overlaps import BestOverlaps, best_overlaps
from detkit.structures import Target
from detkit.structures.device_transfer import to_device
from detkit.structures.objects import ImageBoxes, crowds_of

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1


class Matches(NamedTuple):
    """The objects of P candidates, as ``(P,)``, or ``(B, P)`` where all images have the same candidates.

    Args:
        rows: int64, the row of each candidate's object in the batch; -1 where its image has none.
        foreground: bool, whether it is to predict that object.
        background: bool, whether else it is to predict background; a candidate that is neither is ignored.
    """

    rows: Tensor
    foreground: Tensor
    background: Tensor


@dataclass(frozen=True)
class Matcher:
    """Assigns each candidate box to at most one object by IoU (Faster R-CNN, section 3.1.2).

    A candidate is foreground at IoU >= `foreground_iou` with its best object, background below `background_iou`,
    ignored in between. A background candidate that lies mostly in a crowd or ignore region is ignored.

    Args:
        foreground_iou: minimum IoU of a foreground candidate.
        background_iou: candidates below this IoU are background.
        keep_best: also make the best candidates of each object foreground (all that tie), however low their IoU; each
            is still matched to its own best object, which may be another one.
        ignore_coverage: candidates with at least this fraction of their area in an ignore region are not background.
        least_background_iou: candidates below this IoU with every object are ignored, as too easy background
            (Fast R-CNN, section 2.3: 0.1).
    """

    foreground_iou: float
    background_iou: float
    keep_best: bool = False
    ignore_coverage: float = 0.5
    least_background_iou: float = 0.0

    def __call__(self, candidates: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Match `candidates` ``(R, 4)`` to the objects of `target`.

        Returns:
            The index of each candidate's object in ``target.objects()``, int64 ``(R,)`` (0 where there is no object),
            and its state, int64 ``(R,)``: `FOREGROUND`, `BACKGROUND` or `IGNORED`.

        Raises:
            InputError: the target has no annotated boxes.
        """
        device = candidates.device
        objects = ImageBoxes.of_images([_annotated_boxes(target)], device)
        rows, foreground, background = self.match(candidates, objects, crowds_of([target], device))
        states = background.long() + IGNORED  # BACKGROUND or IGNORED
        return rows[0].clamp(min=0), states.masked_fill_(foreground, FOREGROUND)[0]

    @torch.no_grad()
    def match(
        self,
        candidates: Tensor,
        objects: ImageBoxes,
        crowds: ImageBoxes | None = None,
        image_index: Tensor | None = None,
    ) -> Matches:
        """Match the candidates of a whole batch. Nothing waits for the device.

        Args:
            candidates: ``(P, 4)``.
            objects: of all images.
            crowds: the crowd and ignore regions of all images; None where there are none.
            image_index: ``(P,)`` int64, the image of each candidate; None: every image has all the candidates.
        """
        best = best_overlaps(
            candidates, objects.boxes, objects.bounds, image_index, of_objects=self._finds_best_candidates
        )
        rows, foreground = self._foreground(best, objects, image_index)
        background = best.overlaps < self.background_iou
        if self.least_background_iou > 0:
            background &= (best.overlaps >= self.least_background_iou) | (best.rows < 0)
        if crowds is not None:
            covered = best_overlaps(candidates, crowds.boxes, crowds.bounds, image_index, "coverage").overlaps
            background &= covered < self.ignore_coverage
        return Matches(rows, foreground, background)

    @property
    def _finds_best_candidates(self) -> bool:
        """Whether the best candidates of each object matter."""
        return self.keep_best

    def _foreground(self, best: BestOverlaps, objects: ImageBoxes, image_index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Each candidate's object, and whether it is to predict that."""
        foreground = best.overlaps >= self.foreground_iou
        return best.rows, foreground | best.is_best if self.keep_best else foreground


@dataclass(frozen=True)
class BestForEachMatcher(Matcher):
    """As `Matcher`, but each object is matched to its best candidate, even if that overlaps another object more.

    SSD, section 2.2, "Matching strategy": first each object is matched to its best default box, then default boxes to
    any object with enough IoU. Of several objects with the same best box, the last one gets it.
    """

    @property
    def _finds_best_candidates(self) -> bool:
        return True

    def _foreground(self, best: BestOverlaps, objects: ImageBoxes, image_index: Tensor | None) -> tuple[Tensor, Tensor]:
        rows, foreground = super()._foreground(best, objects, image_index)
        candidates, count = best.object_candidates, rows.numel()
        if image_index is None:  # the candidates of one image after the other
            candidates = torch.where(candidates < 0, candidates, candidates + objects.image_index * rows.shape[1])
        # One extra slot, for objects that no candidate overlaps.
        owners = rows.new_full((count + 1,), -1)
        order = torch.arange(len(candidates), device=rows.device)
        owners.scatter_reduce_(0, torch.where(candidates < 0, count, candidates), order, "amax")
        owners = owners[:-1].view_as(rows)
        is_owned = owners >= 0
        return torch.where(is_owned, owners, rows), foreground | is_owned


class BalancedSample(NamedTuple):
    """A sample of the candidates of every image, as rows of one length.

    Args:
        indices: ``(B, F + G)`` int64, drawn candidates in random order: F columns of foreground, then G of background.
        is_drawn: ``(B, F + G)`` bool; the other entries fill up rows and mean nothing.
        most_foreground: F, the most foreground that an image may have.
    """

    indices: Tensor
    is_drawn: Tensor
    most_foreground: int

    def counts(self) -> tuple[list[int], list[int]]:
        """How much foreground and how much background was drawn of each image; waits for the device once."""
        foreground, background = self.is_drawn.split_with_sizes(
            [self.most_foreground, self.indices.shape[1] - self.most_foreground], dim=1
        )
        foreground_counts, background_counts = torch.stack((foreground.sum(dim=1), background.sum(dim=1))).tolist()
        return foreground_counts, background_counts


def draw_balanced(
    states: Tensor, count: int, foreground_fraction: float, generator: torch.Generator | None = None
) -> BalancedSample:
    """`sample_balanced` for each image of a batch at once, which neither loops nor waits for the device.

    Args:
        states: ``(B, R)``, as `Matcher` returns them.
        count: maximum number of candidates of an image.
        foreground_fraction: maximum fraction of foreground.
        generator: random generator, of any device; None: torch's global one.
    """
    most = min(states.shape[1], count)
    most_foreground = min(most, int(count * foreground_fraction))
    keys = random_keys(states, generator)
    foreground, foreground_rows = keys.masked_fill(states != FOREGROUND, -1).topk(most_foreground, dim=1)
    background, background_rows = keys.masked_fill(states != BACKGROUND, -1).topk(most, dim=1)
    is_foreground = foreground >= 0
    room = count - is_foreground.sum(dim=1, keepdim=True)
    is_background = (background >= 0) & (torch.arange(most, device=states.device) < room)
    return BalancedSample(
        torch.cat((foreground_rows, background_rows), dim=1),
        torch.cat((is_foreground, is_background), dim=1),
        most_foreground,
    )


def sample_balanced(
    states: Tensor, count: int, foreground_fraction: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sample at most `count` candidates at random, at most `foreground_fraction` of them foreground.

    Background fills up what foreground lacks (Faster R-CNN, section 3.1.3).

    Args:
        states: int64 ``(R,)``, as `Matcher` returns them.
        count: maximum number of candidates.
        foreground_fraction: maximum fraction of foreground.
        generator: random generator; None: torch's global one.

    Returns:
        The sampled foreground and background indices into `states`, int64.
    """
    (indices,), (is_drawn,), most_foreground = draw_balanced(states[None], count, foreground_fraction, generator)
    foreground, background = slice(most_foreground), slice(most_foreground, None)
    return indices[foreground][is_drawn[foreground]], indices[background][is_drawn[background]]


def shuffle(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """`values` ``(N, ...)`` in random order; the generator may be on another device, for instance the CPU."""
    if generator is None:
        return values[torch.randperm(len(values), device=values.device)]
    order = torch.randperm(len(values), generator=generator, device=generator.device)
    return values[to_device(order, values.device)]


def random_keys(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random int32 for each element of `like`, not negative: those of equal keys are too few to matter."""
    device = like.device if generator is None else generator.device
    keys = torch.randint(2**31 - 1, like.shape, generator=generator, device=device, dtype=torch.int32)
    return to_device(keys, like.device)


def _annotated_boxes(target: Target) -> Tensor:
    """The boxes ``(N, 4)`` of the objects of `target`."""
    boxes = target.objects().boxes
    if boxes is None:
        raise InputError(f"image {target.image_id!r} has no annotated boxes: candidates cannot be matched to objects")
    return boxes


__getattr__ = moved_names(
    __name__,
    {"RegionSampler": "detkit.heads.RegionSampler", "SampledRegions": "detkit.heads.Regions"},
)
