"""The layout of the package: sizes of rooms and files, names of files, directions of imports."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "detkit"
FILES = sorted(PACKAGE.rglob("*.py"))

ORDER = [
    "errors",
    "deprecation",
    "files",
    "recipes",
    "precise",
    "prefixes",
    "object_config",
    "model_settings",
    "distributed",
    "geometry",
    "ops",
    "structures",
    "images",
    "coco_files",
    "mesh_files",
    "voxel_files",
    "rendering",
    "boxes",
    "anchors",
    "matching",
    "losses",
    "backbones",
    "necks",
    "preprocess",
    "proposals",
    "heads",
    "models",
    "weights",
    "learners",
    "data",
    "evaluation",
    "visualization",
    "results",
    "reporting",
    "tasks",
    "exporting",
    "testing",
    "trust",
    "serving",
    "engine",
    "__init__",
]
"""The rooms and files at the top of the package, from the ground up: each imports only from those before it."""

UPWARD = {
    ("models/vision_model.py", "tasks"): "for annotations, under TYPE_CHECKING: a model names its task by path",
    ("models/saving.py", "engine"): "within `save`, which writes what `detkit.load` reads",
}
"""Imports against the order, each with its reason."""

FLAT = {"backbones", "weights/darknet"}
"""Rooms of more than 12 files: one file per network, or per part of one format."""

RELATED = {
    "backbone": "the base class, and the check of users' own",
    "classification": "the head, and the task",
    "deeplab_v3": "the head, and the model",
    "deeplab_v3_plus": "the head, and the model",
    "evaluator": "the base class, and the check of users' own",
    "fcn": "the head, and the model",
    "fcos": "the head, and the model",
    "localization": "the head, and the task",
    "lraspp": "the head, and the model",
    "overfeat": "the backbone, the head, and the model",
    "retinanet": "the head, and the model",
    "segnet": "the head, and the model",
    "ssd": "the head, and the model",
    "task": "the base class, and the check of users' own",
    "unet": "the head, and the model",
    "yolo_v1": "the head, and the model",
    "yolo_v2": "the head, and the model",
    "yolo_v3": "the neck, the head, and the model",
    "yolo_v4": "the head, and the model",
}
"""Names that several files have, and why."""


def test_a_room_has_at_most_12_flat_files():
    counts: dict[str, int] = defaultdict(int)
    for file in FILES:
        counts[_name(file.parent)] += 1
    assert {room: count for room, count in counts.items() if count > 12 and room not in FLAT} == {}


def test_a_file_has_at_most_300_lines():
    lengths = {_name(file): len(file.read_text().splitlines()) for file in FILES}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_only_related_files_share_a_name():
    by_name: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        by_name[file.stem].append(_name(file))
    shared = {name: files for name, files in by_name.items() if len(files) > 1 and name != "__init__"}
    assert {name: files for name, files in shared.items() if name not in RELATED} == {}
    assert sorted(RELATED.keys() - shared.keys()) == []


def test_only_ops_call_the_native_library():
    outside = [_name(file) for file in FILES if _room(file) != "ops" and "torch.ops.detkit" in file.read_text()]
    assert outside == []


def test_every_room_has_its_place_in_the_order():
    assert {_room(file) for file in FILES} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_imports_point_downwards(room):
    allowed = {*ORDER[: ORDER.index(room)], room, ""}
    upward = {
        (_name(file), imported)
        for file in FILES
        if _room(file) == room
        for imported in _imported_rooms(file)
        if imported not in allowed
    }
    assert sorted(upward - UPWARD.keys()) == []
    assert {key for key in UPWARD if key[0].startswith(f"{room}/")} <= upward


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def _imported_rooms(file: Path) -> Iterator[str]:
    """The rooms that a file imports from, also within functions; "" for the package itself."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names = [alias.name for alias in node.names]
            modules = [f"detkit.{name}" for name in names] if node.module == "detkit" else [node.module or ""]
        else:
            continue
        yield from (f"{module}.".split(".")[1] for module in modules if module.split(".")[0] == "detkit")


def test_no_two_test_files_share_a_name():
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert [name for name, count in Counter(names).items() if count > 1] == []  # which stops pytest
