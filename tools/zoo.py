"""Count each recipe's parameters and multiply-adds into configs/zoo.json, and write MODEL_ZOO.md from it.

    python tools/zoo.py                # all recipes
    python tools/zoo.py ssd300         # count some, write the whole page
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from detkit.engine.checkpoint import build_model
from detkit.models import VisionModel

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "configs" / "zoo.json"
PAGE = ROOT / "MODEL_ZOO.md"
IMAGE_SIZE = (480, 640)
GIVEN_REGIONS = 2000
"""Regions of an image where they are given: those that Fast R-CNN takes from selective search (section 3)."""
DETECTIONS = 100
"""Detections of an image, for which masks or keypoints are predicted."""

Facts = dict[str, dict[str, Any]]


def main(names: list[str]) -> None:
    """Update the facts of the recipes `names`, or of all, and the page."""
    facts: Facts = json.loads(FACTS.read_text())
    for name in names or facts:
        facts[name]["parameters"], facts[name]["macs"] = counted(name, facts[name]["classes"])
    FACTS.write_text(facts_text(facts))
    start, end = PAGE.read_text().split(BEGIN)[0], PAGE.read_text().split(END)[1]
    PAGE.write_text(f"{start}{tables(facts)}{end}")


def facts_text(facts: Facts) -> str:
    """The file of facts: a recipe a line, by name."""
    lines = [f"{json.dumps(name)}: {json.dumps(facts[name], ensure_ascii=False)}" for name in sorted(facts)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def counted(name: str, classes: int) -> tuple[int, int]:
    """The parameters of a recipe's model, and its multiply-adds for one image of `IMAGE_SIZE`.

    Multiply-adds are those of convolutions and fully connected layers, the heads of regions on as many regions as the
    recipe allows at inference.
    """
    recipe = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    model_config = without_weights(recipe["model"])
    model_config["init_args"]["num_classes"] = classes
    with torch.device("meta"):
        model = build_model(model_config, (), name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run(model)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2


def without_weights(part: Any) -> Any:
    """`part` of a recipe without files of weights, which need not be there to count."""
    if isinstance(part, dict):
        return {key: None if key == "weights" else without_weights(value) for key, value in part.items()}
    return [without_weights(value) for value in part] if isinstance(part, list) else part


def run(model: VisionModel) -> None:
    """All layers of a model on the meta device, for one image."""
    placed = model.preprocess.place(IMAGE_SIZE).size
    divisor = model.preprocess.divisor
    raw = model.raw(torch.empty(1, 3, *(math.ceil(side / divisor) * divisor for side in placed)))
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
        branch.answer(torch.empty(DETECTIONS, channels, *[branch.resolution] * 2))


BEGIN, END = "<!-- tables: python tools/zoo.py -->\n", "<!-- end of tables -->"
GROUPS = {
    "Your own data": "",
    "COCO": "_coco",
    "PASCAL VOC": "_voc07",
    "ImageNet": "_imagenet",
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
        groups[next((title for title, ends in GROUPS.items() if ends and is_for(name, ends)), "Your own data")].append(
            name
        )
    return groups


def is_for(name: str, ends: str | tuple[str, ...]) -> bool:
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
        timed(fact.get("inference")),
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


def timed(entry: dict[str, Any] | None) -> str:
    """The time of one image, and that of the same detector in another program."""
    return "" if entry is None else f"{entry['seconds']} ({entry['peer']}: {entry['peer_seconds']})"


if __name__ == "__main__":
    main(sys.argv[1:])
