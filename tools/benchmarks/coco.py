"""Time COCO evaluations from the JSON files to the metrics, each in a process of its own.

``python tools/benchmark.py coco`` runs it. pycocotools, hotcoco and faster-coco-eval are measured too where
they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_masks
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detkit.files import write_whole

HEIGHT, WIDTH = 480, 640
JOINTS = 17


@dataclass(frozen=True)
class Size:
    """The size of an evaluation."""

    images: int
    objects: int
    detections: int
    classes: int


# About the size of COCO's val2017: all objects; for keypoints the persons, with 20 detections per image.
SIZES = {
    "bbox": Size(5_000, 36_700, 180_000, 80),
    "segm": Size(5_000, 36_700, 180_000, 80),
    "keypoints": Size(5_000, 11_000, 100_000, 1),
}

# Each program: its module, the imports before the clock starts, and the work, which leaves AP in `ap`.
PROGRAMS = {
    "detkit": (
        "detkit",
        "from detkit.evaluation import evaluate_files",
        "ap = evaluate_files(truth, results, iou_type)['AP']",
    ),
    "hotcoco": (
        "hotcoco",
        "from hotcoco import COCO, COCOeval",
        "coco = COCO(truth); coco_eval = COCOeval(coco, coco.load_res(results), iou_type)\n"
        "coco_eval.evaluate(); coco_eval.accumulate(); coco_eval.summarize(); ap = coco_eval.stats[0]",
    ),
    "faster-coco-eval": (
        "faster_coco_eval",
        "from faster_coco_eval import COCO, COCOeval_faster",
        "coco = COCO(truth); coco_eval = COCOeval_faster(coco, coco.loadRes(results), iou_type)\n"
        "coco_eval.evaluate(); coco_eval.accumulate(); coco_eval.summarize(); ap = coco_eval.stats[0]",
    ),
    "pycocotools": (
        "pycocotools",
        "from pycocotools.coco import COCO\nfrom pycocotools.cocoeval import COCOeval",
        "coco = COCO(truth); coco_eval = COCOeval(coco, coco.loadRes(results), iou_type)\n"
        "coco_eval.evaluate(); coco_eval.accumulate(); coco_eval.summarize(); ap = coco_eval.stats[0]",
    ),
}

# The peak of memory is read from /proc, where it can be reset; getrusage includes the process it was forked from.
MEASURED = """
import json, re, sys, time
from pathlib import Path
truth, results, iou_type = sys.argv[1:]
{imports}
kilobytes = lambda name: int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
start, begin = time.process_time(), time.perf_counter()
{work}
seconds, passed = time.process_time() - start, time.perf_counter() - begin
print(json.dumps([seconds, passed, (kilobytes("VmHWM") - before) / 1024, float(ap)]))
"""


@dataclass(frozen=True)
class Evaluation:
    """Medians: CPU seconds, wall-clock seconds, MB by which the process grew after its imports; and AP, on which all
    must agree."""

    name: str
    seconds: float
    passed: float
    megabytes: float
    ap: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--iou_type", choices=list(SIZES), default="bbox", help="what to compare (default: bbox)")
    parser.add_argument("--repetitions", type=int, default=3, help="processes per program (default: 3)")


def benchmark(iou_type: str, repetitions: int, out: Path | None) -> None:
    """Measure and print a table; write it to the JSON file `out` too."""
    size = SIZES[iou_type]
    with tempfile.TemporaryDirectory() as folder:
        paths = draw_files(Path(folder), iou_type, size)
        names = [name for name, (module, *_) in PROGRAMS.items() if importlib.util.find_spec(module)]
        turns = [name for _ in range(repetitions) for name in names]
        numbers = [run(name, paths, iou_type) for name in track(turns, transient=True)]
    evaluations = [
        Evaluation(name, *map(statistics.median, zip(*numbers[index :: len(names)], strict=True)))
        for index, name in enumerate(names)
    ]
    title = f"COCO {iou_type}: {size.images} images, {size.objects} objects, {size.detections} detections"
    table = Table(title=title, title_justify="left")
    for column in ("", "CPU s", "wall-clock s", "MB", "AP", "detkit is faster by"):
        table.add_column(column, justify="left" if column == "" else "right")
    for one in evaluations:
        ratio = f"{one.seconds / evaluations[0].seconds:.1f}"
        seconds = (f"{one.seconds:.2f}", f"{one.passed:.2f}")
        table.add_row(one.name, *seconds, f"{one.megabytes:.0f}", f"{one.ap:.6f}", ratio)
    Console().print(table)
    if out:
        write_whole(out, json.dumps([asdict(one) for one in evaluations], indent=2) + "\n")


def run(name: str, paths: tuple[Path, Path], iou_type: str) -> list[float]:
    """The numbers of an `Evaluation`, of one process on one thread."""
    _, imports, work = PROGRAMS[name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED.format(imports=imports, work=work), *map(str, paths), iou_type]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def draw_files(folder: Path, iou_type: str, size: Size) -> tuple[Path, Path]:
    """An annotation file and a results file; half of the detections lie near an object."""
    random = np.random.default_rng(0)
    share = 1 / np.arange(1, size.classes + 1)
    classes = random.choice(size.classes, size.objects, p=share / share.sum())
    images = random.integers(0, size.images, size.objects)
    sides = np.exp(random.normal(4, 1, (size.objects, 2))).clip(4, HEIGHT - 10)
    boxes = np.concatenate([random.random((size.objects, 2)) * ([WIDTH, HEIGHT] - sides), sides], axis=1)
    poses = random.random((size.objects, JOINTS, 2)) if iou_type == "keypoints" else None
    annotations = [
        {
            "id": index + 1,
            "image_id": int(images[index]),
            "category_id": int(classes[index]),
            "bbox": boxes[index].round(2).tolist(),
            "area": float(boxes[index, 2] * boxes[index, 3] * 0.6),
            "iscrowd": 0,
            "segmentation": [polygon(random, boxes[index])],
            **(
                {}
                if poses is None
                else {"num_keypoints": JOINTS, "keypoints": keypoints(boxes[index], poses[index], 2)}
            ),
        }
        for index in range(size.objects)
    ]
    content = {
        "images": [{"id": number, "height": HEIGHT, "width": WIDTH} for number in range(size.images)],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(size.classes)],
        "annotations": annotations,
    }
    source = random.integers(0, size.objects, size.detections)
    near = random.random(size.detections) < 0.5
    detected = boxes[source] + random.normal(0, 0.1, (size.detections, 4)) * boxes[source][:, [2, 3, 2, 3]]
    detected[~near, :2] = random.random((int((~near).sum()), 2)) * [WIDTH / 2, HEIGHT / 2]
    detected[:, 2:] = detected[:, 2:].clip(2)

    def compared(index: int) -> dict:
        if iou_type == "segm":
            return mask_of(random, detected[index])
        if poses is not None:
            return {"keypoints": keypoints(detected[index], poses[source[index]], round(random.random(), 3))}
        return {"bbox": detected[index].round(2).tolist()}

    results = [
        {
            "image_id": int(images[source[index]] if near[index] else random.integers(0, size.images)),
            "category_id": int(classes[source[index]]),
            "score": round(float(random.random()) * (1 if near[index] else 0.5), 5),
            **compared(index),
        }
        for index in range(size.detections)
    ]
    paths = folder / "annotations.json", folder / "detections.json"
    for path, written in zip(paths, (content, results), strict=True):
        path.write_text(json.dumps(written))
    return paths


def keypoints(box: np.ndarray, fractions: np.ndarray, visibility: float) -> list[float]:
    """Keypoints ``x y visibility`` in a box ``x y width height``, given as fractions of its sides."""
    points = (box[:2] + fractions * box[2:]).round(1)
    return np.insert(points, 2, visibility, axis=1).ravel().tolist()


def polygon(random: np.random.Generator, box: np.ndarray) -> list[float]:
    """A star-shaped polygon in the box ``x y width height``."""
    corners = int(random.integers(8, 40))
    angles = np.arange(corners) / corners * 2 * np.pi
    radius = random.uniform(0.7, 1, corners)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    return (box[:2] + box[2:] / 2 * (1 + directions)).round(2).ravel().tolist()


def mask_of(random: np.random.Generator, box: np.ndarray) -> dict:
    """A mask of such a polygon, in the form of a results file."""
    (encoded,) = coco_masks.frPyObjects([polygon(random, box)], HEIGHT, WIDTH)
    return {"segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}}
