"""Write annotated images as COCO, PASCAL VOC or YOLO."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from PIL import Image

from detkit.files import named_file, write_into
from detkit.images import is_image

PutImage = Callable[[Path, Path, Mapping[str, Any]], None]
"""Copies or links the image file of the first path to the second, in the frame of its entry in the COCO file."""

LAYOUTS = {
    "coco": ("annotations", "images"),
    "voc": ("Annotations", "ImageSets", "JPEGImages", "classes.txt"),
    "yolo": ("images", "labels", "data.yaml"),
}
"""The files and folders that each writer creates."""


@dataclass(frozen=True)
class AnnotatedSplit:
    """The images and objects of a split.

    Args:
        name: such as ``train``.
        content: of a COCO file, each image with its width and height.
        images_path: the folder that file names are relative to.
    """

    name: str
    content: dict[str, Any]
    images_path: Path

    @property
    def names(self) -> list[str]:
        """The classes in the order of their labels."""
        return [category["name"] for category in self.content["categories"]]

    @property
    def labels(self) -> dict[int, int]:
        """The label of each category id."""
        return {category["id"]: label for label, category in enumerate(self.content["categories"])}

    def file_of(self, image: Mapping[str, Any]) -> Path:
        """The image file."""
        return named_file(self.images_path, image["file_name"])

    def objects_of_images(self) -> dict[Any, list[dict[str, Any]]]:
        """The annotations of each image id, in order."""
        objects: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in self.content["images"]}
        for annotation in self.content["annotations"]:
            objects[annotation["image_id"]].append(annotation)
        return objects


def write_coco(splits: Sequence[AnnotatedSplit], folder: Path, _with_masks: bool, put_image: PutImage) -> None:
    """``annotations/instances_{split}.json`` and ``images/{split}/``; ids count from 1."""
    (folder / "annotations").mkdir()
    for split in splits:
        (folder / "images" / split.name).mkdir(parents=True)
        stems, objects = unique_stems([split]), split.objects_of_images()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, image in enumerate(split.content["images"], start=1):
            file = split.file_of(image)
            name = f"{stems[file]}{suffix_of_copy(file)}"
            put_image(file, folder / "images" / split.name / name, image)
            images.append({"id": number, "file_name": name, "height": image["height"], "width": image["width"]})
            for annotation in objects[image["id"]]:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **_coco_object(annotation)})
        content = {"images": images, "annotations": annotations, "categories": split.content["categories"]}
        write_into(folder, f"annotations/instances_{split.name}.json", json.dumps(content, ensure_ascii=False))


def _coco_object(annotation: Mapping[str, Any]) -> dict[str, Any]:
    box = annotation["bbox"]
    area = annotation.get("area", box[2] * box[3])
    required = {"category_id": annotation["category_id"], "bbox": box, "area": area}
    optional = {key: annotation[key] for key in ("segmentation", "difficult") if key in annotation}
    return {**required, "iscrowd": int(annotation.get("iscrowd", 0)), **optional}


def write_voc(splits: Sequence[AnnotatedSplit], folder: Path, _with_masks: bool, put_image: PutImage) -> None:
    """``Annotations/``, ``ImageSets/Main/{split}.txt``, ``JPEGImages/``, and the classes in ``classes.txt``."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    write_into(folder, "classes.txt", "".join(f"{name}\n" for name in splits[0].names))
    stems = unique_stems(splits)
    for split in splits:
        objects = split.objects_of_images()
        listed = [stems[split.file_of(image)] for image in split.content["images"]]
        write_into(folder, f"ImageSets/Main/{split.name}.txt", "".join(f"{s}\n" for s in listed))
        for stem, image in zip(listed, split.content["images"], strict=True):
            file = split.file_of(image)
            target = folder / "JPEGImages" / f"{stem}{suffix_of_copy(file)}"
            if not target.exists():
                put_image(file, target, image)
            tree = _voc_annotation(target.name, image, objects[image["id"]], split)
            write_into(folder, f"Annotations/{stem}.xml", ElementTree.tostring(tree, "utf-8", xml_declaration=True))


def _voc_annotation(
    file_name: str, image: Mapping[str, Any], objects: Sequence[Mapping[str, Any]], split: AnnotatedSplit
) -> ElementTree.Element:
    size = {"width": image["width"], "height": image["height"], "depth": 3}
    content: dict[str, Any] = {"folder": "JPEGImages", "filename": file_name, "size": size, "segmented": 0}
    root = _element("annotation", content)
    for annotation in objects:
        x, y, width, height = annotation["bbox"]
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
        ignored = any(annotation.get(key) for key in ("difficult", "iscrowd", "ignore"))
        entry = {
            "name": split.names[split.labels[annotation["category_id"]]],
            "pose": "Unspecified",
            "truncated": 0,
            "difficult": int(ignored),
            "bndbox": {side: _digits(value) for side, value in corners.items()},
        }
        root.append(_element("object", entry))
    ElementTree.indent(root)
    return root


def _element(tag: str, content: Mapping[str, Any] | Any) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    if isinstance(content, Mapping):
        element.extend(_element(key, value) for key, value in content.items())
    else:
        element.text = str(content)
    return element


def _digits(value: float) -> str:
    """A coordinate with 6 decimals, without trailing zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def write_yolo(splits: Sequence[AnnotatedSplit], folder: Path, with_masks: bool, put_image: PutImage) -> None:
    """``images/{split}/``, ``labels/{split}/`` and the ``data.yaml``.

    With `with_masks`, an object with one outline is written as that instead of its box.
    """
    for split in splits:
        stems, objects, labels = unique_stems([split]), split.objects_of_images(), split.labels
        for name in ("images", "labels"):
            (folder / name / split.name).mkdir(parents=True)
        for image in split.content["images"]:
            file = split.file_of(image)
            stem = stems[file]
            put_image(file, folder / "images" / split.name / f"{stem}{suffix_of_copy(file)}", image)
            lines = [
                f"{labels[one['category_id']]} {_yolo_values(one, image, with_masks)}\n" for one in objects[image["id"]]
            ]
            write_into(folder, f"labels/{split.name}/{stem}.txt", "".join(lines))
    names = splits[0].names
    content = {split.name: f"images/{split.name}" for split in splits} | {"nc": len(names), "names": names}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_into(folder, "data.yaml", text)


def _yolo_values(annotation: Mapping[str, Any], image: Mapping[str, Any], with_masks: bool) -> str:
    """Center and size, or the points of an outline, as fractions with 12 digits, enough for 1e-6 pixels."""
    width, height = image["width"], image["height"]
    segmentation = annotation.get("segmentation")
    if with_masks and isinstance(segmentation, list) and len(segmentation) == 1 and len(segmentation[0]) >= 6:
        sides = [(width, height)[position % 2] for position in range(len(segmentation[0]))]
        values = [min(max(value / side, 0), 1) for value, side in zip(segmentation[0], sides, strict=True)]
    else:
        x, y, w, h = annotation["bbox"]
        values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
    return " ".join(f"{value:.12g}" for value in values)


def unique_stems(splits: Sequence[AnnotatedSplit]) -> dict[Path, str]:
    """A unique name without suffix for each image file: its own or, where several share that, a longer one."""
    split_of = {split.file_of(image): split.name for split in splits for image in split.content["images"]}
    stems = {file: file.stem.strip(". ") or "image" for file in split_of}  # a copy is not to be hidden
    for longer in (
        lambda file: f"{split_of[file]}_{file.stem}",
        lambda file: "_".join(
            [*(part for part in file.parts[:-1] if part != file.anchor), file.name.replace(".", "_")]
        ),
    ):
        counts = Counter(stem.casefold() for stem in stems.values())
        stems = {file: stem if counts[stem.casefold()] == 1 else longer(file) for file, stem in stems.items()}
    taken = {stem for stem, uses in Counter(stem.casefold() for stem in stems.values()).items() if uses == 1}
    for file, stem in stems.items():
        if stem.casefold() not in taken:
            stems[file] = next(name for name in (f"{stem}_{n}" for n in count(1)) if name.casefold() not in taken)
            taken.add(stems[file].casefold())
    return stems


def suffix_of_copy(file: Path) -> str:
    """The suffix of a copy, by which listings know that it is an image."""
    if is_image(file.name):
        return file.suffix
    with Image.open(file) as image:
        suffix = f".{image.format}".lower()
    return suffix if is_image(f"image{suffix}") else ".jpg"


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
