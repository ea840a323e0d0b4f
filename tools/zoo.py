"""Count each recipe's parameters and multiply-adds into configs/zoo.json, and write MODEL_ZOO.md from it.

python tools/zoo.py                # all recipes
python tools/zoo.py ssd300         # count some, write the whole page
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from detkit.engine.checkpoint import build_model
from detkit.engine.commands.anchors.recipe_model import recipe_model
from detkit.heads import Context, DepthHead, MeshHead, VoxelHead
from detkit.models import ShapeNetMeshRCNN, VisionModel
from detkit.preprocess import Batch

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "configs" / "zoo.json"
PAGE = ROOT / "MODEL_ZOO.md"
IMAGE_SIZE = (480, 640)
GIVEN_REGIONS = 2000
"""Regions of an image where they are given: those that Fast R-CNN takes from selective search (section 3)."""
DETECTIONS = 100
"""Detections of an image, for which masks or keypoints are predicted."""

BENCHMARKS = ROOT / "docs" / "benchmarks.md"
TORCHVISION = {
    "faster_rcnn_mobilenet_v3_fpn": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "faster_rcnn_resnet50_fpn": "fasterrcnn_resnet50_fpn_v2",
    "faster_rcnn_resnet50_fpn_coco": "fasterrcnn_resnet50_fpn",
    "fcos_resnet50_fpn": "fcos_resnet50_fpn",
    "mask_rcnn_resnet50_fpn_coco": "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn_coco": "retinanet_resnet50_fpn",
    "ssd300": "ssd300_vgg16",
    "ssdlite_mobilenet_v3": "ssdlite320_mobilenet_v3_large",
}
"""The recipes of which the same network was timed beside torchvision's, and its name there."""

MACHINE = "CPU time of two threads, Intel Xeon with AVX-512"

Facts = dict[str, dict[str, Any]]


def main(names: list[str]) -> None:
    """Update the facts of the recipes `names`, or of all, and the page."""
    facts: Facts = json.loads(FACTS.read_text())
    for name in names or facts:
        facts[name]["parameters"], facts[name]["macs"] = counted(name, facts[name]["classes"])
    times = measured_times(BENCHMARKS.read_text())
    for name, fact in facts.items():
        fact["inference"] = times.get(TORCHVISION.get(name, ""))
    FACTS.write_text(facts_text(facts))
    start, end = PAGE.read_text().split(BEGIN)[0], PAGE.read_text().split(END)[1]
    PAGE.write_text(f"{start}{tables(facts)}{end}")


def facts_text(facts: Facts) -> str:
    """The file of facts: a recipe a line, by name."""
    lines = [f"{json.dumps(name)}: {json.dumps(facts[name], ensure_ascii=False)}" for name in sorted(facts)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def counted(name: str, classes: int | None) -> tuple[int, int]:
    """The parameters of a recipe's model, and its multiply-adds for one image of `IMAGE_SIZE`.

    Multiply-adds are those of convolutions and fully connected layers, the heads of regions on as many regions as the
    recipe allows at inference. Those at the vertices of meshes, whose number depends on the image, are left out.
    """
    with torch.device("meta"):
        model = build_model(recipe_model(name, classes), (), name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run(model)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2


def run(model: VisionModel) -> None:
    """All layers of a model on the meta device, for one image."""
    placed = model.preprocess.place(IMAGE_SIZE).size
    divisor = model.preprocess.divisor
    images = torch.empty(1, 3, *(math.ceil(side / divisor) * divisor for side in placed))
    if isinstance(model, ShapeNetMeshRCNN):
        batch = Batch(images)
        assert model.voxel_head is not None, "recipes have voxels"
        model.voxel_head(model.features(batch)[-1], Context(batch))
        return
    raw = model.raw(images)
    if hasattr(model, "region_pool"):
        run_heads_of_regions(model, raw[0])


def run_heads_of_regions(model: Any, features: list[Tensor]) -> None:
    """The heads of a two-stage detector, each on its regions."""
    rpn = getattr(model, "rpn", None)
    regions = rpn.postprocess.detections if rpn is not None else GIVEN_REGIONS
    channels = model.region_pool.out_channels(features[0].shape[1])
    for head in getattr(model.box_head, "stages", [model.box_head]):
        head.answer(head.trunk(torch.empty(regions, channels, *[model.region_pool.resolution] * 2)))
    for branch in model.branches.values():
        if isinstance(branch, (DepthHead, VoxelHead)):
            branch(lambda _, side: torch.empty(DETECTIONS, channels, side, side), None, {}, None)
        elif not isinstance(branch, MeshHead):
            branch.answer(torch.empty(DETECTIONS, channels, *[branch.resolution] * 2))


BEGIN, END = "<!-- tables: python tools/zoo.py -->\n", "<!-- end of tables -->"
GROUPS: dict[str, tuple[str, ...]] = {
    "Your own data": (),
    "COCO": ("_coco",),
    "PASCAL VOC": ("_voc07", "_voc"),
    "Label maps": ("_camvid", "_isbi"),
    "Meshes": ("_pix3d", "_shapenet", "_shapes3d"),
    "ImageNet": ("_imagenet",),
    "Small data sets": ("_bccd", "_nuclei", "_shapes"),
}


def tables(facts: Facts) -> str:
    """The tables of the page."""
    parts = [BEGIN]
    for title, names in grouped(facts).items():
        parts += [f"\n## {title}\n\n", table({name: facts[name] for name in names})]
    return "".join((*parts, "\n", END))


def grouped(facts: Facts) -> dict[str, list[str]]:
    """The names of recipes by what they are for."""
    groups: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name in sorted(facts):
        groups[next((title for title, ends in GROUPS.items() if is_for(name, ends)), "Your own data")].append(name)
    return groups


def is_for(name: str, ends: tuple[str, ...]) -> bool:
    """Whether a recipe has one of these endings, apart from a variant's."""
    return name.removesuffix("_large_batch").endswith(ends)


def table(facts: Facts) -> str:
    """One table."""
    head = "| recipe | input | parameters | multiply-adds | published | trained here | CPU s | starts from |\n"
    rows = [f"| `{name}` | {' | '.join(cells(one))} |\n" for name, one in facts.items()]
    return "".join((head, "|---|---|---|---|---|---|---|---|\n", *rows))


def cells(fact: dict[str, Any]) -> list[str]:
    """What a row says of a recipe after its name."""
    weights = ", ".join(f"`{one}`" for one in fact["weights"])
    return [
        fact["input"],
        f"{fact['parameters'] / 1e6:.1f} M",
        f"{fact['macs'] / 1e9:.1f} G",
        published(fact["published"]),
        own(fact["own"]),
        timed(fact["inference"]),
        f"{weights}: {fact['weights_license']}" if weights else "",
    ]


def published(entry: dict[str, Any] | None) -> str:
    """A published result with its source."""
    return "" if entry is None else f"{entry['metric']} {entry['value']} on {entry['data']} ({entry['source']})"


def own(entry: dict[str, Any] | None) -> str:
    """A result of this repository."""
    if entry is None:
        return ""
    interval = "" if entry["interval"] is None else " ({} to {})".format(*entry["interval"])
    return f"{entry['metric']} {entry['value']}{interval} on {entry['data']}; {entry['time']}, {entry['machine']}"


def measured_times(page: str) -> dict[str, dict[str, Any]]:
    """The CPU seconds of one image by torchvision's name, beside those of torchvision, from the page of benchmarks."""
    start = page.index("| detector | detkit CPU s | torchvision CPU s |")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", page[start : page.index("\n\n", start)], re.MULTILINE)
    return {
        name: {"seconds": float(ours), "peer": "torchvision", "peer_seconds": float(theirs), "machine": MACHINE}
        for name, ours, theirs in rows
    }


def timed(entry: dict[str, Any] | None) -> str:
    """The time of one image beside that of another program."""
    return "" if entry is None else f"{entry['seconds']:.3f} ({entry['peer']}: {entry['peer_seconds']:.3f})"


if __name__ == "__main__":
    main(sys.argv[1:])
