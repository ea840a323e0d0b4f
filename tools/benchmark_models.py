"""Time whole detectors, their parts, and torchvision's counterparts.

    python tools/benchmark.py models --threads 1 --out models.json
    python tools/benchmark.py models --only yolo --batch_size 8 --device cuda

Each detector has its usual size, random weights and an image of 480 x 640 pixels. Where torchvision has the same
detector, it gets the same weights, and both run interleaved: ``predict`` of detkit, which folds batch norm into
convolutions, and ``model(images)`` of torchvision in evaluation and inference mode. Batch norm has the statistics of
the image, and class scores are spread out like those of a trained network; score thresholds are set so that 300 scored
boxes per image enter the last suppression, which is the work of an image full of objects.

The parts are timed in further runs of detkit's model, since a folded copy has no place for a clock.

The parts of the time: `proposals` is selective search, `preprocess` resizing, normalizing and padding, `backbone` the
backbone and its neck, `head` the layers of the heads and the crops of regions, and `decoding` all the rest: boxes and
scores from their outputs, suppression (also of an RPN's proposals), pasting masks, mapping to the given image. On CUDA
times are measured by events on the stream; with one thread on the CPU they are CPU time.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from detkit import ops
from detkit.backbones import (
    CSPDarknet53,
    CSPDarknetTiny,
    Darknet19,
    Darknet53,
    DarknetTiny,
    OverFeatFast,
    TorchvisionBackbone,
    YOLOv1Backbone,
)
from detkit.heads import BoxHead, YOLOv3Head, YOLOv4Head
from detkit.models import RCNN, CascadeRCNN, Detector, FastRCNN, OverFeat, YOLOv1, YOLOv2, YOLOv3, YOLOv4
from detkit.necks import YOLOv3Neck
from detkit.preprocess import Letterbox
from detkit.proposals import SelectiveSearch
from detkit.weights import from_torchvision
from detkit.weights.torchvision_weights import BUILDERS

CANDIDATES = 300  # scored boxes per image that enter the last suppression
SPREAD = 3.0  # the standard deviation of class logits
IMAGE_SIZE = (480, 640)  # height and width
COCO_LABELS = 91  # of torchvision's detectors, background included
FEWEST_REPETITIONS = 3
PARTS = ("proposals", "preprocess", "backbone", "head", "decoding")

_TINY_NECK = partial(YOLOv3Neck, channels=[128, 256], convolutions=[0, 1])
_TINY_ANCHORS = [[(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)], [(81.0, 82.0), (135.0, 169.0), (344.0, 319.0)]]
OWN: dict[str, Callable[[], Detector]] = {
    "overfeat_fast": lambda: OverFeat(OverFeatFast(), 80),
    "rcnn_alexnet": lambda: RCNN(TorchvisionBackbone("alexnet", stages=[5]), 20, SelectiveSearch()),
    "fast_rcnn_vgg16": lambda: FastRCNN(TorchvisionBackbone("vgg16", stages=[4]), 20, SelectiveSearch()),
    "cascade_rcnn_resnet50_fpn": lambda: CascadeRCNN(TorchvisionBackbone("resnet50"), 80),
    "yolo_v1": lambda: YOLOv1(YOLOv1Backbone(), 20),
    "yolo_v2": lambda: YOLOv2(Darknet19(), 80),
    "yolo_v3": lambda: YOLOv3(Darknet53(), 80),
    "yolo_v3_tiny": lambda: YOLOv3(DarknetTiny(), 80, _TINY_NECK, partial(YOLOv3Head, anchors=_TINY_ANCHORS)),
    "yolo_v4": lambda: YOLOv4(CSPDarknet53(), 80, preprocess=Letterbox((608, 608))),
    "yolo_v4_tiny": lambda: YOLOv4(
        CSPDarknetTiny(), 80, _TINY_NECK, partial(YOLOv4Head, anchors=_TINY_ANCHORS, scale_x_y=[1.05, 1.05]),
        Letterbox((416, 416)),
    ),
}  # fmt: skip
"""Detectors that torchvision does not have, as large as in their papers."""

# What gives class scores, torchvision's by name and detkit's: the last layer inside.
_SCORES = re.compile(r"(cls_score|cls_logits|classification_head\.module_list\.\d+|\bclasses|\bhead\.predict\.\d+)$")


@dataclass(frozen=True)
class Measurement:
    """A detector's medians, in seconds for one batch; a ratio of 2 means half of torchvision's time."""

    name: str
    batch_size: int
    seconds: float
    parts: dict[str, float]
    candidates: int | None
    detections: int
    repetitions: int
    torchvision_seconds: float | None = None
    torchvision_detections: int | None = None
    ratio: float | None = None

    def share(self, part: str) -> float:
        """Of the time of the runs whose parts were timed, that of one part."""
        return self.parts[part] / sum(self.parts.values())


def benchmark(
    device: str, threads: int, batch_size: int, repetitions: int, longest: float, only: str, out: Path | None
) -> None:
    """Measure all detectors whose name contains `only`, print a table and write JSON to `out`."""
    torch.set_num_threads(threads)
    stopwatch = Stopwatch(device, threads)
    names = [name for name in (*BUILDERS, *OWN) if only in name]
    measurements = []
    for name in track(names, "measuring", transient=True):
        measurements.append(measure(name, *made(name, device), stopwatch, batch_size, repetitions, longest))
    Console().print(table(measurements, device, threads))
    if out is not None:
        record = {
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "threads": threads,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "backend": ops.backend(),
            "measurements": [asdict(one) | {"decoding_share": one.share("decoding")} for one in measurements],
        }
        out.write_text(json.dumps(record, indent=2) + "\n")


def made(name: str, device: str) -> tuple[Detector, nn.Module | None]:
    """The detector `name` and torchvision's counterpart, if there is one, ready to be measured."""
    torch.manual_seed(0)
    if name in OWN:
        model = OWN[name]().to(device).eval()
        prepare(model, device)
        return model, None
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None).to(device).eval()
    prepare(theirs, device)
    return from_torchvision(name, theirs.state_dict()).to(device).eval(), theirs


def cloud_image(device: str | torch.device) -> Tensor:
    """Colored clouds ``(3, 480, 640)``."""
    generator = torch.Generator().manual_seed(0)
    clouds = [
        nn.functional.interpolate(torch.rand(1, 3, *size, generator=generator), IMAGE_SIZE, mode="bicubic")[0]
        for size in ((3, 4), (12, 16), (48, 64))
    ]
    return (sum(clouds, torch.zeros(())) / 3).clamp(0, 1).to(device)


@torch.no_grad()
def prepare(model: nn.Module, device: str) -> None:
    """Give batch norm the statistics of the image, then spread the class logits."""
    images = [cloud_image(device)]
    norms = [(module, module.momentum) for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm, _ in norms:
        norm.train().momentum = 1.0
    if norms:
        model(images * 2)  # two images, for the statistics of maps of one cell
    for norm, momentum in norms:
        norm.eval().momentum = momentum

    outputs: dict[Any, list[Tensor]] = {layer: [] for layer in score_layers(model)}
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, output: outputs[layer].append(output.movedim(1, 0).flatten(1))
        )
        for layer in outputs
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    for layer, level_outputs in outputs.items():
        rows = score_rows(model, layer)
        logits = torch.cat(level_outputs, dim=1) - (0 if layer.bias is None else layer.bias[:, None])
        layer.weight[rows] *= SPREAD / logits[rows].std()
        if isinstance(model, (torchvision.models.detection.RetinaNet, torchvision.models.detection.FCOS)):
            # They have a background logit, which detkit omits and which is never the largest with trained weights.
            layer.weight[::COCO_LABELS], layer.bias[::COCO_LABELS] = 0.0, -20.0


def score_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that give class scores; YOLOv1's scores have no sigmoid and are left unchanged."""
    if isinstance(model, YOLOv1):
        return []
    named = [module for name, module in model.named_modules() if _SCORES.search(name) and "rpn" not in name]
    return [[layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1] for module in named]


def score_rows(model: nn.Module, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The outputs of a layer that are scores, bool; a YOLO's layer gives boxes too."""
    numbers = torch.arange(layer.weight.shape[0], device=layer.weight.device)
    return numbers % (5 + model.num_classes) >= 4 if isinstance(model, (YOLOv2, YOLOv3, YOLOv4)) else numbers >= 0


class SuppressionCounter(TorchDispatchMode):
    """Counts the boxes that enter suppression, detkit's or torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in (torch.ops.detkit.nms.default, torch.ops.torchvision.nms.default):
            self.boxes += len(args[0])
        elif func is torch.ops.detkit.batched_nms_padded.default:
            self.boxes += int((args[2] >= 0).sum())  # of no image are boxes that only fill up
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def set_threshold(model: Detector, images: Sequence[Tensor]) -> int | None:
    """Set the score threshold so that `CANDIDATES` boxes of each image enter the last suppression; returns how many do.

    A head that does not suppress, as OverFeat's merging, keeps its threshold.
    """
    owner, decode = last_decoding(model, images)
    part = suppression(owner)

    def count(threshold: float) -> int:
        part.score_threshold = threshold
        with SuppressionCounter() as counter:
            decode()
        return counter.boxes

    default, low, high = part.score_threshold, 0.0, 1.0
    if count(low) == 0:
        part.score_threshold = default
        return None
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) > CANDIDATES * len(images) else (low, middle)
    return count(high)


def suppression(head: Any) -> Any:
    """The part of a head that holds its thresholds."""
    return getattr(head, "postprocess", head)


def last_decoding(model: Detector, images: Sequence[Tensor]) -> tuple[Any, Callable[[], object]]:
    """The head that scores the final boxes, and a function that repeats its decoding of `images` alone."""
    owner: Any = model.head if hasattr(model, "head") else model.box_head
    name = "decode"
    if isinstance(model, CascadeRCNN):
        owner, name = [module for module in owner.modules() if isinstance(module, BoxHead)][-1], "select"
    original = getattr(owner, name)
    calls: list[tuple[Any, ...]] = []

    def recorded(*arguments: Any) -> object:
        calls.append(arguments)
        return original(*arguments)

    setattr(owner, name, recorded)
    model(images)
    delattr(owner, name)
    return owner, lambda: original(*calls[0])


class Stopwatch:
    """Timestamps and the seconds between them, on a GPU's stream or a CPU."""

    def __init__(self, device: str, threads: int) -> None:
        self.on_cuda = device == "cuda"
        self.clock = time.process_time if threads == 1 else time.perf_counter

    def now(self) -> Any:
        """The current timestamp."""
        if not self.on_cuda:
            return self.clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """From one timestamp to another; a GPU must have passed both."""
        return start.elapsed_time(end) / 1e3 if self.on_cuda else end - start

    def time(self, run: Callable[[], object]) -> float:
        """The seconds of a call."""
        start = self.now()
        run()
        end = self.now()
        if self.on_cuda:
            torch.cuda.synchronize()
        return self.seconds(start, end)


class PartTimer:
    """Records when each part of a detector runs; what runs inside another part counts as that part."""

    def __init__(self, model: Detector, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.spans: list[tuple[str, Any, Any]] = []
        self.depth = 0
        self.hooks: list[Any] = []
        for part, names in {
            "preprocess": ["preprocess"],
            "backbone": ["backbone", "neck"],
            "head": ["head", "rpn", "region_pool", "box_head", "branches"],
        }.items():
            # Inner layers too: a cascade and an R-CNN call those of their box head one by one.
            parts = (getattr(model, name).modules() for name in names if getattr(model, name, None) is not None)
            for module in itertools.chain.from_iterable(parts):
                self.watch(part, module)
        search: Any = getattr(model, "proposals", None)
        if search is not None:
            timed: Any = self.timed("proposals", search)
            model.proposals = timed

    def watch(self, part: str, module: nn.Module) -> None:
        """Record the calls of a module."""
        self.hooks.append(module.register_forward_pre_hook(lambda *_: self.enter(part)))
        self.hooks.append(module.register_forward_hook(lambda *_: self.leave()))

    def timed(self, part: str, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function whose calls are recorded."""

        def recorded(argument: Any) -> Any:
            self.enter(part)
            result = run(argument)
            self.leave()
            return result

        return recorded

    def remove(self) -> None:
        """End the recording of modules, some of which a copy shares with its model."""
        for hook in self.hooks:
            hook.remove()

    def enter(self, part: str) -> None:
        """A part begins."""
        if self.depth == 0:
            self.spans.append((part, self.stopwatch.now(), None))
        self.depth += 1

    def leave(self) -> None:
        """A part ends."""
        self.depth -= 1
        if self.depth == 0:
            part, start, _ = self.spans[-1]
            self.spans[-1] = part, start, self.stopwatch.now()

    def take(self, total: float) -> dict[str, float]:
        """The seconds of each part since the last time, of `total`; what is left is decoding."""
        seconds = dict.fromkeys(PARTS, 0.0)
        for part, start, end in self.spans:
            seconds[part] += self.stopwatch.seconds(start, end)
        self.spans = []
        return seconds | {"decoding": total - sum(seconds.values())}


@torch.inference_mode()
def measure(
    name: str,
    model: Detector,
    theirs: nn.Module | None,
    stopwatch: Stopwatch,
    batch_size: int,
    repetitions: int,
    longest: float,
) -> Measurement:
    """Both interleaved, after a warm-up run of each, then the parts of detkit's."""
    images = [cloud_image(next(model.parameters()).device)] * batch_size
    candidates = set_threshold(model, images)
    their_detections = None
    if theirs is not None:
        owner: Any = theirs.roi_heads if hasattr(theirs, "roi_heads") else theirs
        owner.score_thresh = suppression(getattr(model, "head", getattr(model, "box_head", None))).score_threshold
        their_detections = len(theirs(images)[0]["scores"])
    detections = model.predict(images, batch_size)
    ours: list[float] = []
    counterparts: list[float] = []
    end = time.perf_counter() + longest
    while len(ours) < FEWEST_REPETITIONS or (len(ours) < repetitions and time.perf_counter() < end):
        ours.append(stopwatch.time(lambda: model.predict(images, batch_size)))
        if theirs is not None:
            counterparts.append(stopwatch.time(lambda: theirs(images)))
    return Measurement(
        name=name,
        batch_size=batch_size,
        seconds=statistics.median(ours),
        parts=part_seconds(model, images, stopwatch),
        candidates=candidates and candidates // batch_size,
        detections=len(detections[0]),
        repetitions=len(ours),
        torchvision_seconds=statistics.median(counterparts) if counterparts else None,
        torchvision_detections=their_detections,
        ratio=statistics.median(one / two for one, two in zip(counterparts, ours, strict=True))
        if counterparts
        else None,
    )


def part_seconds(model: Detector, images: Sequence[Tensor], stopwatch: Stopwatch) -> dict[str, float]:
    """The medians of the parts of a detector's time, without batch norm as in ``predict``."""
    copy = model.folded()
    timer = PartTimer(copy, stopwatch)
    runs = [timer.take(stopwatch.time(lambda: copy(images))) for _ in range(FEWEST_REPETITIONS)]
    timer.remove()
    return {part: statistics.median(one[part] for one in runs) for part in PARTS}


def table(measurements: Sequence[Measurement], device: str, threads: int) -> Table:
    result = Table(
        title=f"detkit ({ops.backend()}) and torchvision {torchvision.__version__}, {device}, {threads} threads"
    )
    ratios = [one.ratio for one in measurements if one.ratio]
    if ratios:
        result.caption = f"times faster: median {statistics.median(ratios):.2f}, least {min(ratios):.2f}"
    for column in ("detector", "images/s", "torchvision's", "times faster", *(f"{part} %" for part in PARTS)):
        result.add_column(column, justify="left" if column == "detector" else "right", no_wrap=column == "detector")
    for column in ("candidates", "detections", "batch", "runs"):
        result.add_column(column, justify="right")
    for one in measurements:
        theirs = one.torchvision_seconds
        result.add_row(
            one.name,
            f"{one.batch_size / one.seconds:.3g}",
            f"{one.batch_size / theirs:.3g}" if theirs else "",
            f"{one.ratio:.2f}" if one.ratio else "",
            *(f"{100 * one.share(part):.1f}" if one.parts[part] else "" for part in PARTS),
            "" if one.candidates is None else str(one.candidates),
            str(one.detections),
            str(one.batch_size),
            str(one.repetitions),
        )
    return result
