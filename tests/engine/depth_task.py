"""All that a new task takes, in one file: the depth of each pixel, with a metric of which less is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from detkit.data import ImageDataset
from detkit.evaluation import Evaluation, Evaluator, ImageMeans, MeasuredData
from detkit.models import VisionModel
from detkit.preprocess import Preprocess, Square
from detkit.structures import Category, Target
from detkit.structures.kind import Kind, check_tensor
from detkit.tasks import Recovered, Task
from detkit.visualization import to_image_array

NEAR = 0.05  # the difference of depths that are as good as equal


@dataclass(frozen=True)
class DepthMap(Kind):
    """``(H, W)`` float32, the depth of each pixel in 0..1, NaN where it is unknown."""

    per_pixel = True

    def check(self, owner, value, count, counted):
        check_tensor(owner, value, torch.float32, ("H", "W"))

    def image_size(self, value):
        return value.shape[0], value.shape[1]

    def move(self, value, placement, swaps):
        return placement.label_map(value, float("nan"))


@dataclass(frozen=True, eq=False)
class DepthTarget(Target):
    depth: Annotated[Tensor | None, DepthMap()] = None


class Ramps(ImageDataset):
    """Gray images whose brightness is their depth; it has no objects, and the last image has no depth."""

    target_class = DepthTarget

    def __init__(self, split: str, count: int = 6) -> None:
        self.numbers = range(count if split == "train" else 4)

    @property
    def categories(self) -> list[Category]:
        return [Category(1, "surface")]

    @property
    def image_ids(self) -> list[str]:
        return [f"ramp {number}" for number in self.numbers]

    @property
    def image_sizes(self) -> np.ndarray:
        return np.full((len(self.numbers), 2), (32, 48))

    def target(self, index: int) -> Target:
        depth = None if index == self.numbers[-1] else torch.from_numpy(self._depth(index))
        return DepthTarget(image_id=self.image_ids[index], depth=depth)

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        pixels = (255 * self._depth(index)).round().astype(np.uint8)
        return np.repeat(pixels[..., None], 3, axis=2), self.target(index)

    def _depth(self, index: int) -> np.ndarray:
        rows, columns = np.mgrid[:32, :48].astype(np.float32)
        return (0.2 + 0.05 * index + rows / 100 + columns / 200).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Depth:
    """``(H, W)`` float32, the depth of each pixel of an image."""

    depth: Tensor

    def to(self, device: Any) -> Depth:
        return Depth(self.depth.to(device))


class DepthError(Evaluator):
    """The mean absolute error of depths."""

    name, reads, headline, higher_is_better = "depth", "depth", "error", False

    def keep(self, target: Target, answer: Depth) -> float:
        known = target.depth.isfinite()
        return float((answer.depth - target.depth)[known].abs().mean())

    def update(self, targets: Sequence[Target], answers: Sequence[Depth]) -> None:
        pairs = [(one, answer) for one, answer in zip(targets, answers, strict=True) if one.depth is not None]
        super().update([one for one, _ in pairs], [answer for _, answer in pairs])

    def evaluate(self) -> Evaluation:
        return Evaluation({"error": sum(self.kept.values()) / max(1, len(self.kept))})

    def image_weighting(self) -> ImageMeans:
        ids = sorted(self.kept)
        none = np.zeros(0, np.int64)
        data = MeasuredData("the ramps", ids, ["surface"], none, none, np.zeros((0, 0)))
        return ImageMeans(data, {"error": np.array([self.kept[one] for one in ids])})


class DepthEstimation(Task):
    """The depth of each pixel."""

    name, answer, parts = "depth", Depth, frozenset({"depth"})
    evaluators, results_file = (DepthError,), "depths.json"

    def results(self, answer: Depth, categories: Sequence[Category]) -> list[dict[str, Any]]:
        return [{"mean_depth": round(float(answer.depth.mean()), 4)}]

    def draw(self, image, answer, categories, score_threshold=0.0):
        shown = (255 * answer.depth.clamp(0, 1)).byte().numpy()
        return np.repeat(shown[..., None], 3, axis=2) if isinstance(answer, Depth) else to_image_array(image)

    def export(self, model: VisionModel) -> dict[str, str]:
        return {"depth": "(B, H, W) depth of each pixel of the input"}

    def doctor(self, dataset: ImageDataset) -> list[str]:
        none = [one for row, one in enumerate(dataset.image_ids) if dataset.target(row).depth is None]
        return [f"{len(none)} images have no depth, such as {none[0]!r}"] if none else []

    def truth(self, target: Target) -> Depth | None:
        return None if target.depth is None else Depth(target.depth.nan_to_num(0.0))

    def recovered(self, target: Target, answer: Depth) -> Recovered:
        known = target.depth.isfinite()
        share = ((answer.depth - target.depth)[known].abs() <= NEAR).float().mean()
        return Recovered(share[None], torch.zeros(1, dtype=torch.int64))


class DepthHead(nn.Module):
    """A depth for each pixel, from the map of a backbone of stride 1; cells of `coarse` pixels share one."""

    def __init__(self, channels: int, coarse: int) -> None:
        super().__init__()
        self.coarse = coarse
        self.depth = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor, context: Any) -> Tensor:
        pooled = nn.functional.avg_pool2d(features, self.coarse)
        return nn.functional.interpolate(self.depth(pooled), scale_factor=float(self.coarse))[:, 0]

    def losses(self, raw: Tensor, context: Any) -> dict[str, Tensor]:
        expected = self._expected(raw, context)
        known = expected.isfinite()
        return {"depth": (raw - expected.nan_to_num(0.0)).abs()[known].sum() / known.sum().clamp(min=1)}

    def decode(self, raw: Tensor, context: Any) -> list[Depth]:
        moved = zip(raw, context.batch.placements, strict=True)
        return [Depth(placement.inverse().label_map(depth, 0.0)) for depth, placement in moved]

    def ideal(self, raw: Tensor, context: Any) -> Tensor:
        cells = nn.functional.avg_pool2d(self._expected(raw, context).nan_to_num(0.0)[:, None], self.coarse)
        return nn.functional.interpolate(cells, scale_factor=float(self.coarse))[:, 0]

    def _expected(self, raw: Tensor, context: Any) -> Tensor:
        unknown = raw.new_full(raw.shape[1:], float("nan"))
        return torch.stack([unknown if one.depth is None else one.depth.to(raw) for one in context.truth])


class DepthNet(VisionModel):
    """The figure: two convolutions and a head."""

    task = "depth_task.DepthEstimation"
    learns_from = frozenset({"depth"})

    def __init__(self, coarse: int = 1, preprocess: Preprocess | None = None) -> None:
        super().__init__()
        self.preprocess = preprocess or Square(32)
        self.backbone = nn.Conv2d(3, 4, 1)
        self.head = DepthHead(4, coarse)

    def features(self, batch: Any) -> Tensor:
        return self.backbone(batch.images)

    def heads(self, features: Tensor, context: Any) -> Tensor:
        return self.head(features, context)

    def losses(self, raw: Tensor, context: Any) -> dict[str, Tensor]:
        return self.head.losses(raw, context)

    def decode(self, raw: Tensor, context: Any) -> list[Depth]:
        return self.head.decode(raw, context)

    def decode_padded(self, raw: Tensor, context: Any) -> Mapping[str, Tensor]:
        return {"depth": raw}
