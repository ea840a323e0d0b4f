"""Where the files of ShapeNet are: renderings, meshes, voxels, and the list of the images of each split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files import read_json, visible
from detkit.files.json_values import shown

RENDERINGS, MESHES, VOXELS = "ShapeNetRendering", "ShapeNetCore.v1", "ShapeNetCore.v1.binvox"
_VOXEL_FILES = ("model.presolid.binvox", "model.binvox")
_SPLITS = "pix2mesh_splits_val05.json"

Images = Mapping[str, Mapping[str, list[int]]]
"""The numbers of the images of each model, by its synset and its id."""


def is_shapenet(root: Path) -> bool:
    """Whether a folder holds the renderings of ShapeNet."""
    return (root / RENDERINGS).is_dir()


def splits_file(root: Path) -> Path:
    """The JSON file of the splits: Mesh R-CNN's, or the only other one whose name has ``split``.

    Raises:
        InputError: there is none, or there are several.
    """
    if (root / _SPLITS).is_file():
        return root / _SPLITS
    files = [path for path in visible(root.glob("*.json")) if "split" in path.name.lower()]
    if len(files) != 1:
        present = ", ".join(path.name for path in files) or "none"
        raise InputError(
            f"{root}: there must be one JSON file of splits, such as {_SPLITS} of Mesh R-CNN, with the numbers of the "
            f"images by split, synset and model; found {present}"
        )
    return files[0]


def read_splits_file(path: Path) -> dict[str, Images]:
    """The images of each split.

    Raises:
        InputError: it is no such file.
    """
    content = read_json(path)
    for split, synsets in _items(path, content, "the file"):
        for synset, models in _items(path, synsets, f"the split {split}"):
            for model, numbers in _items(path, models, f"{synset} of the split {split}"):
                is_list = isinstance(numbers, list) and all(type(one) is int and one >= 0 for one in numbers)
                if not is_list or len(set(numbers)) < len(numbers):
                    raise InputError(
                        f"{path}: the images of {synset}/{model} in the split {split} are {shown(numbers)}; give a "
                        "list of their numbers, each once"
                    )
    splits: dict[str, Images] = content
    return splits


def _items(path: Path, content: Any, name: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(content, dict):
        raise InputError(f"{path}: {name} holds {shown(content)}; it must be an object: images by split, synset, model")
    return content.items()


def mesh_file(root: Path, model: str) -> str:
    """The path of the mesh of a model ``synset/id``."""
    return f"{root}/{MESHES}/{model}/model.obj"


def voxel_file(root: Path, model: str) -> str:
    """The path of the voxels of a model: those before the inside was filled, where these are there."""
    paths = [f"{root}/{VOXELS}/{model}/{name}" for name in _VOXEL_FILES]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def views_file(root: Path, model: str) -> str:
    """The path of the cameras of a model's renderings."""
    return f"{root}/{RENDERINGS}/{model}/rendering/rendering_metadata.txt"
