"""Draw the `Shapes` data set into a folder in COCO's layout."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detkit.data.shapes.drawn_maps import stuff_categories, write_maps
from detkit.data.shapes.options import COLORS, KEYPOINT_NAMES, KEYPOINT_SIGMAS, SHAPE_NAMES, SKELETON, ShapesOptions
from detkit.data.shapes.scene import draw_scene
from detkit.errors import InputError
from detkit.files import open_whole_folder, read_json, write_into
from detkit.structures.categories import Category, to_coco

logger = logging.getLogger(__name__)
_MARKER = "shapes.json"
_VERSION = 4  # raise it whenever the same parameters give other files


def draw_shapes(root: str | Path, options: ShapesOptions | None = None) -> Path:
    """Draw the data set, or reuse it if it is there.

    Writes ``root/images/{split}/*`` and ``root/annotations/instances_{split}.json``; with stuff classes also label maps
    ``root/labels/{split}/*.png``, and ``root/annotations/panoptic_{split}.json`` with its folder of PNGs.

    The folder appears whole or not at all: it is drawn under another name and renamed. A folder drawn with the same
    options is reused, one drawn with others is replaced.

    Returns:
        `root`.

    Raises:
        InputError: `root` exists and was not drawn by this function.
    """
    options = options or ShapesOptions()
    root = Path(root)
    if _is_drawn(root, options):
        return root
    if root.exists() and not (root / _MARKER).is_file() and any(root.iterdir()):
        raise InputError(f"{root}: this folder holds other files than drawn shapes; name another one")
    logger.info("drawing %s into %s", options.counts, root)
    with open_whole_folder(root) as work:
        for number, (split, count) in enumerate(sorted(options.counts.items())):
            _draw_split(work, split, number, count, options)
        write_into(work, _MARKER, json.dumps(_description(options), indent=1))
        _move_into_place(work, root, options)
    return root


def folder_name(options: ShapesOptions) -> str:
    """A folder name that is unique to the options."""
    text = json.dumps(_description(options), sort_keys=True)
    return f"shapes-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _description(options: ShapesOptions) -> dict:
    values = asdict(options)
    if not options.stuff:
        del values["stuff"]  # folders from before it are reused
    return json.loads(json.dumps({"version": _VERSION, **values}))


def _is_drawn(root: Path, options: ShapesOptions) -> bool:
    try:
        return read_json(root / _MARKER) == _description(options)
    except InputError:
        return False


def _move_into_place(work: Path, root: Path, options: ShapesOptions) -> None:
    if _is_drawn(root, options):
        return  # another process was faster: two ranks of one training draw the same images
    if root.exists():
        shutil.rmtree(root)
    try:
        os.rename(work, root)
    except OSError:
        if not _is_drawn(root, options):
            raise


def _draw_split(work: Path, split: str, number: int, count: int, options: ShapesOptions) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    panoptic: list[dict[str, Any]] = []
    for index in range(count):
        random = np.random.default_rng([options.seed, number, index])
        scene = draw_scene(random, options)
        image, objects = scene.image, scene.objects
        name = f"{index:06d}.png" if random.random() < options.png_fraction else f"{index:06d}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(70, 96))] if name.endswith("jpg") else []
        _, data = cv2.imencode(name[-4:], cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
        write_into(work, f"images/{split}/{name}", data.tobytes())
        height, width = image.shape[:2]
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for annotation in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
        if options.stuff:
            panoptic.append({"image_id": index + 1, **write_maps(work, split, f"{Path(name).stem}.png", scene)})
    categories = [
        {"supercategory": "shape", "isthing": 1, **to_coco(_category(label))}
        for label, shape in enumerate(SHAPE_NAMES)
        if shape in options.names
    ]
    categories += [{"supercategory": "stuff", **to_coco(category)} for category in stuff_categories(options.stuff)]
    content = {
        "info": {"description": f"Shapes, {split}, seed {options.seed}"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    write_into(work, f"annotations/instances_{split}.json", json.dumps(content))
    if options.stuff:
        write_into(work, f"annotations/panoptic_{split}.json", json.dumps({**content, "annotations": panoptic}))


def _category(label: int) -> Category:
    return Category(
        label + 1,
        SHAPE_NAMES[label],
        color=COLORS[label],
        keypoints=KEYPOINT_NAMES,
        skeleton=SKELETON,
        sigmas=KEYPOINT_SIGMAS,
    )
