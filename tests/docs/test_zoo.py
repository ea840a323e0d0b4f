"""configs/zoo.json knows every recipe as it is, and MODEL_ZOO.md says what it holds."""

import json
import sys
from pathlib import Path

import pytest
import torchvision
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import zoo  # noqa: E402

from detkit.backbones.weights_sources import torchvision_source  # noqa: E402

FACTS = json.loads((ROOT / "configs" / "zoo.json").read_text())
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
QUICK = ("faster_rcnn_shapes", "ssdlite_mobilenet_v3", "mask_rcnn_mobilenet_v2_fpn_nuclei", "resnet50")
KEYS = {
    "task", "model", "backbone", "input", "classes", "parameters", "macs", "published", "own", "inference", "weights",
    "weights_license",
}  # fmt: skip


def test_every_recipe_has_facts():
    assert sorted(FACTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_whole_and_of_the_recipe(name):
    fact = FACTS[name]
    assert fact.keys() == KEYS
    recipe = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    assert recipe["model"]["class_path"].rpartition(".")[2] == fact["model"]
    if fact["published"] is not None:
        assert fact["published"].keys() == {"metric", "value", "data", "source"}
    if fact["own"] is not None:
        assert fact["own"].keys() == {"data", "metric", "value", "interval", "time", "machine"}
    assert bool(fact["weights"]) == bool(fact["weights_license"])
    if "start_from" in recipe:
        assert recipe["start_from"] in fact["weights"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_parameters_and_multiply_adds_are_those_of_the_model(name):
    fact = FACTS[name]
    assert zoo.counted(name, fact["classes"]) == (fact["parameters"], fact["macs"])


@pytest.mark.parametrize("name", [name for name in NAMES if "torchvision, " in str(FACTS[name]["published"])])
def test_torchvisions_results_are_those_it_states(name):
    kind, weights = FACTS[name]["published"]["source"].removeprefix("torchvision, ").split(".")
    enum = getattr(torchvision.models, kind, None) or getattr(torchvision.models.detection, kind)
    (stated,) = enum[weights].meta["_metrics"].values()
    key = {"box AP": "box_map", "mask AP": "mask_map", "keypoint AP": "kp_map", "top-1": "acc@1"}
    assert FACTS[name]["published"]["value"] == round(stated[key[FACTS[name]["published"]["metric"]]], 1)


def test_multiply_adds_agree_with_those_that_torchvision_states():
    """Of a classifier: those of detectors are for other sizes of images and other numbers of regions."""
    stated = torchvision.models.ResNet50_Weights.DEFAULT.meta["_ops"]
    assert FACTS["resnet50"]["macs"] / 1e9 == pytest.approx(stated, rel=0.01)


def test_the_page_says_what_the_facts_are():
    page = (ROOT / "MODEL_ZOO.md").read_text()
    start, end = page.index(zoo.BEGIN), page.index(zoo.END)
    assert page[start : end + len(zoo.END)] == zoo.tables(FACTS)


def test_times_are_those_of_the_benchmarks():
    table = (
        (ROOT / "docs" / "benchmarks.md")
        .read_text()
        .partition("| detector | detkit CPU s | torchvision CPU s |")[2]
        .partition("\n\n")[0]
    )
    rows = {
        cells[1].strip(" `"): cells[2:4] for cells in (line.split("|") for line in table.splitlines()) if cells[2:4]
    }
    for name, fact in FACTS.items():
        seconds, peer = rows.get(zoo.TORCHVISION.get(name), (None, None))
        measured = fact["inference"] or {"seconds": None, "peer_seconds": None}
        assert measured["seconds"] == (seconds and float(seconds))
        assert measured["peer_seconds"] == (peer and float(peer))


@pytest.mark.parametrize("name", [name for name in NAMES if "torchvision:" in str(FACTS[name]["weights"])])
def test_a_license_that_torchvision_does_not_state_is_unknown(name):
    """As `detkit license` says."""
    published = [one.removeprefix("torchvision:").partition(" ")[0] for one in FACTS[name]["weights"]]
    unknown = [torchvision_source(one).license.startswith("unknown") for one in published]
    assert unknown == [FACTS[name]["weights_license"].startswith("unknown")] * len(unknown)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("faster_rcnn_mobilenet_v2_fpn_bccd", "all"),
        ("yolo_v3_mobilenet_v2_bccd", "all"),
        ("mask_rcnn_mobilenet_v2_fpn_nuclei", "masks"),
    ],
)
def test_own_results_are_those_of_the_page_of_results(name, row):
    page = (ROOT / "docs" / "results.md").read_text()
    part = page[page.index(f"runs/{name}/best.ckpt") :]
    assert float(part[part.index(f"| {row} | ") :].split("|")[2]) == FACTS[name]["own"]["value"]


def test_unets_result_is_that_of_the_page_of_results():
    page = (ROOT / "docs" / "results.md").read_text()
    row = page[page.index("| U-Net, from random weights |") :].split("|")
    assert float(row[4]) == FACTS["unet_nuclei"]["own"]["value"]
    assert row[2].strip() == f"{FACTS['unet_nuclei']['parameters'] / 1e6:.1f} M"
