"""Times COCO evaluations, each in a process of its own: from the JSON files to the numbers.

``python tools/benchmark.py coco`` runs it. Those of pycocotools, hotcoco and faster-coco-eval that are installed are
measured beside detkit.
"""

from __future__ import annotations

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

IMAGES, OBJECTS, DETECTIONS, CLASSES = 5_000, 36_700, 180_000, 80
HEIGHT, WIDTH = 480, 640

# Each program has the modules imported before the clock starts, and leaves AP in `ap`.
PROGRAMS = {
    "detkit": (
        "detkit",
        "from detkit.evaluation import evaluate_files",
        "ap = evaluate_files(truth, found, iou_type)['AP']",
    ),
    "hotcoco": (
        "hotcoco",
        "from hotcoco import COCO, COCOeval",
        "coco = COCO(truth); judge = COCOeval(coco, coco.load_res(found), iou_type)\n"
        "judge.evaluate(); judge.accumulate(); judge.summarize(); ap = judge.stats[0]",
    ),
    "faster-coco-eval": (
        "faster_coco_eval",
        "from faster_coco_eval import COCO, COCOeval_faster",
        "coco = COCO(truth); judge = COCOeval_faster(coco, coco.loadRes(found), iou_type)\n"
        "judge.evaluate(); judge.accumulate(); judge.summarize(); ap = judge.stats[0]",
    ),
    "pycocotools": (
        "pycocotools",
        "from pycocotools.coco import COCO\nfrom pycocotools.cocoeval import COCOeval",
        "coco = COCO(truth); judge = COCOeval(coco, coco.loadRes(found), iou_type)\n"
        "judge.evaluate(); judge.accumulate(); judge.summarize(); ap = judge.stats[0]",
    ),
}

# The peak of memory is that of /proc, which can be begun anew; getrusage counts what the process was forked from.
MEASURED = """
import json, re, sys, time
from pathlib import Path
truth, found, iou_type = sys.argv[1:]
{imports}
kilobytes = lambda name: int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
start = time.process_time()
{work}
seconds = time.process_time() - start
print(json.dumps([seconds, (kilobytes("VmHWM") - before) / 1024, float(ap)]))
"""


@dataclass(frozen=True)
class Evaluation:
    """Medians: processor's seconds, MB by which the process grew after its imports; and AP, which all must agree on."""

    name: str
    seconds: float
    megabytes: float
    ap: float


def benchmark(iou_type: str, repetitions: int, out: Path | None) -> None:
    """Measure and print a table; write it to the JSON file `out` too."""
    with tempfile.TemporaryDirectory() as folder:
        paths = draw_files(Path(folder), iou_type == "segm")
        names = [name for name, (module, *_) in PROGRAMS.items() if importlib.util.find_spec(module)]
        evaluations = [run(name, paths, iou_type, repetitions) for name in track(names, transient=True)]
    table = Table(
        title=f"COCO {iou_type}: {IMAGES} images, {OBJECTS} objects, {DETECTIONS} detections", title_justify="left"
    )
    for column in ("", "processor's s", "MB", "AP", "detkit is faster by"):
        table.add_column(column, justify="left" if column == "" else "right")
    for one in evaluations:
        ratio = f"{one.seconds / evaluations[0].seconds:.1f}"
        table.add_row(one.name, f"{one.seconds:.2f}", f"{one.megabytes:.0f}", f"{one.ap:.6f}", ratio)
    Console().print(table)
    if out:
        temporary = out.with_name(out.name + ".partial")
        temporary.write_text(json.dumps([asdict(one) for one in evaluations], indent=2) + "\n")
        os.replace(temporary, out)


def run(name: str, paths: tuple[Path, Path], iou_type: str, repetitions: int) -> Evaluation:
    """The medians over so many processes, on one thread each."""
    _, imports, work = PROGRAMS[name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED.format(imports=imports, work=work), *map(str, paths), iou_type]
    numbers = []
    for _ in range(repetitions):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {done.stderr[-1000:]}")
        numbers.append(json.loads(done.stdout.splitlines()[-1]))
    seconds, megabytes, ap = (statistics.median(column) for column in zip(*numbers, strict=True))
    return Evaluation(name, seconds, megabytes, ap)


def draw_files(folder: Path, with_masks: bool) -> tuple[Path, Path]:
    """An annotation file and a results file of about COCO's size; half of the detections lie near an object."""
    random = np.random.default_rng(0)
    share = 1 / np.arange(1, CLASSES + 1)
    classes = random.choice(CLASSES, OBJECTS, p=share / share.sum())
    images = random.integers(0, IMAGES, OBJECTS)
    sides = np.exp(random.normal(4, 1, (OBJECTS, 2))).clip(4, HEIGHT - 10)
    boxes = np.concatenate([random.random((OBJECTS, 2)) * ([WIDTH, HEIGHT] - sides), sides], axis=1)
    annotations = [
        {
            "id": index + 1,
            "image_id": int(images[index]),
            "category_id": int(classes[index]),
            "bbox": boxes[index].round(2).tolist(),
            "area": float(boxes[index, 2] * boxes[index, 3] * 0.6),
            "iscrowd": 0,
            "segmentation": [polygon(random, boxes[index])],
        }
        for index in range(OBJECTS)
    ]
    content = {
        "images": [{"id": number, "height": HEIGHT, "width": WIDTH} for number in range(IMAGES)],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(CLASSES)],
        "annotations": annotations,
    }
    source = random.integers(0, OBJECTS, DETECTIONS)
    near = random.random(DETECTIONS) < 0.5
    found = boxes[source] + random.normal(0, 0.1, (DETECTIONS, 4)) * boxes[source][:, [2, 3, 2, 3]]
    found[~near, :2] = random.random((int((~near).sum()), 2)) * [WIDTH / 2, HEIGHT / 2]
    found[:, 2:] = found[:, 2:].clip(2)
    results = [
        {
            "image_id": int(images[source[index]] if near[index] else random.integers(0, IMAGES)),
            "category_id": int(classes[source[index]]),
            "score": round(float(random.random()) * (1 if near[index] else 0.5), 5),
            **(mask_of(random, found[index]) if with_masks else {"bbox": found[index].round(2).tolist()}),
        }
        for index in range(DETECTIONS)
    ]
    paths = folder / "annotations.json", folder / "detections.json"
    for path, written in zip(paths, (content, results), strict=True):
        path.write_text(json.dumps(written))
    return paths


def polygon(random: np.random.Generator, box: np.ndarray) -> list[float]:
    """A star-shaped polygon in the box ``x y width height``."""
    corners = int(random.integers(8, 40))
    angles = np.arange(corners) / corners * 2 * np.pi
    radius = random.uniform(0.7, 1, corners)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    return (box[:2] + box[2:] / 2 * (1 + directions)).round(2).ravel().tolist()


def mask_of(random: np.random.Generator, box: np.ndarray) -> dict:
    """A mask of such a polygon, as a results file has it."""
    (encoded,) = coco_masks.frPyObjects([polygon(random, box)], HEIGHT, WIDTH)
    return {"segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}}
