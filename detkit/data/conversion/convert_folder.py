"""Write a data set in another format."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from detkit.data.conversion.annotated_splits import SPLITS, read_splits
from detkit.data.conversion.checked_splits import check_class_names, checked_split
from detkit.data.conversion.map_writers import MAP_LAYOUTS, WrittenMaps, field_of_maps, write_map_splits
from detkit.data.formats.labelme.labelme_writer import write_labelme
from detkit.data.formats.open_dataset import format_of, has_split_of, open_split
from detkit.data.formats.writers import LAYOUTS, WRITERS, AnnotatedSplit
from detkit.errors import InputError
from detkit.files import open_whole_folder
from detkit.files.annotation_formats import BoxFormat, Format, MapFormat, WrittenFormat
from detkit.images.reading import read_header
from detkit.images.upright import write_upright

logger = logging.getLogger(__name__)

_WRITERS = WRITERS | {"labelme": write_labelme}
_LAYOUTS = LAYOUTS | MAP_LAYOUTS | {"labelme": ("labels.txt", *SPLITS)}
"""The files and folders that each writer creates."""


@dataclass(frozen=True)
class Conversion:
    """The result of `convert`.

    Args:
        problems: a message for each fault that was left out, with its file and line if it has one.
        losses: what the new format cannot hold.
        images: the number of images of each split.
        boxes: the number of boxes of each split; of maps, that of the regions of one class, or one object, in an image.
        counted: what `boxes` counts.
    """

    problems: list[str]
    losses: list[str]
    images: dict[str, int]
    boxes: dict[str, int]
    counted: str = "boxes"


def convert(
    root: str | Path,
    out: str | Path,
    to: WrittenFormat,
    source_format: BoxFormat | MapFormat | None = None,
    splits: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    with_masks: bool = False,
    images: Literal["copy", "link"] = "copy",
    on_bad: Literal["error", "skip"] = "error",
    overwrite: bool = False,
    components: bool = False,
) -> Conversion:
    """Write a data set in another format. The new folder appears whole or not at all.

    Boxes come back the same to 1e-6 pixels; those that reach out of their image are clipped to it.
    docs/conversion.md lists what each format holds.

    Args:
        root: the folder; of YOLO, its ``data.yaml`` too.
        out: the folder to write.
        to: its format.
        source_format: the format of `root`; None: detected.
        splits: those to convert; None: all of train, val and test that exist.
        class_names: of VOC, LabelMe, CVAT and maps, the classes in the order of their labels, see `VocDataset`.
        with_masks: to YOLO: write objects with one outline as that instead of its box.
        images: copy the image files, or make symbolic links to them. Those with an EXIF orientation are written anew
            in the orientation of their annotations, JPEG with the best quality, and without the tag.
        on_bad: "error" writes nothing if anything is wrong; "skip" leaves out what is wrong.
        overwrite: replace `out`, if it holds a data set in this format and nothing else.
        components: of label maps: make an object of each connected component of a class.

    Raises:
        InputError: there is nothing to convert, `out` is in the way, or something is wrong: then the message has a line
            for every fault of every file.
    """
    root, out = Path(root), Path(out)
    detected: Format = source_format or format_of(root)
    if detected == "folders" or detected == "shapenet":
        has = "a folder for each class" if detected == "folders" else "the renderings of ShapeNet"
        raise InputError(f"{root} has {has} and no boxes, so there is nothing to convert")
    if detected == to:
        raise InputError(f"{root} is in the format {to} already; name another one to convert it to")
    _check_free(root, out, to, overwrite)
    if to == "maps" or to == "coco_panoptic":
        return _convert_to_maps(root, out, to, detected, splits, class_names, images == "link", on_bad)
    problems: list[str] = []
    keeps_masks = to == "labelme" or (with_masks and to == "yolo")
    with TemporaryDirectory() as extracted:
        splits_read = read_splits(
            root, detected, splits, class_names, problems, keeps_masks, Path(extracted), components
        )
        written = [checked_split(split, problems) for split in splits_read]
        check_class_names(written)
        if problems and on_bad == "error":
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise InputError(
                f"{root}: nothing was written, for {len(problems)} faults; correct them, or leave out what is wrong "
                f"with --on_bad skip\n{lines}"
            )
        _write(written, out, to, with_masks, images == "link")
    return Conversion(
        problems,
        [*_losses(written, to, with_masks), *_losses_of_maps(detected, components)],
        {split.name: len(split.content["images"]) for split in written},
        {split.name: len(split.content["annotations"]) for split in written},
    )


def _convert_to_maps(
    root: Path,
    out: Path,
    to: WrittenMaps,
    format: Format,
    names: Sequence[str] | None,
    class_names: Sequence[str] | None,
    links: bool,
    on_bad: Literal["error", "skip"],
) -> Conversion:
    if format == "voc":
        raise InputError(f"{root} has boxes and no masks; its segmentations are converted with --from voc_segmentation")
    names = names or [name for name in SPLITS if has_split_of(root, name, format)] or SPLITS[:1]
    opened = [(name, open_split(root, name, format, class_names, (), on_bad, on_bad)) for name in names]
    read = [(name, dataset.reading({field_of_maps(dataset, to)})) for name, dataset in opened]
    with open_whole_folder(out) as work:
        done = write_map_splits(read, work, to, _link if links else _copy)
        _move(work, out)
    overlaps = f"{done.overlaps} images have objects that overlap: a pixel belongs to the one with the smallest mask"
    return Conversion([], [overlaps] if done.overlaps else [], done.images, done.segments, "regions")


def _losses_of_maps(format: Format, components: bool) -> list[str]:
    if format not in get_args(MapFormat):
        return []
    merged = "objects are connected components of a class: those that touch have become one"
    return ["classes of stuff are left out", *([merged] if components else [])]


def _losses(splits: Sequence[AnnotatedSplit], to: WrittenFormat, with_masks: bool) -> list[str]:
    """What the new format cannot hold."""
    objects = [annotation for split in splits for annotation in split.content["annotations"]]
    outlined = [one for one in objects if one.get("segmentation")]
    unwritten = [one for one in outlined if not (with_masks and _is_one_outline(one["segmentation"]))]
    crowds = sum(bool(one.get("iscrowd") or one.get("ignore")) for one in objects)
    difficult = sum(bool(one.get("difficult")) for one in objects)
    images = [image for split in splits for image in split.content["images"]]
    lost = {
        "masks are left out, their boxes are kept": len(unwritten) if to in ("voc", "yolo") else 0,
        "objects lose their keypoints": sum(bool(one.get("keypoints")) for one in objects),
        "images lose their label map": sum(bool(one.get("label_map")) for one in images),
        "images lose their camera": sum(bool(one.get("camera")) for one in images),
        "crowd or ignore regions become difficult objects": crowds if to == "voc" else 0,
        "crowd or ignore regions become objects like any other": crowds if to == "yolo" else 0,
        "difficult objects become objects like any other": difficult if to == "yolo" else 0,
    }
    return [f"{count} {what}" for what, count in lost.items() if count]


def _is_one_outline(segmentation: list | dict) -> bool:
    return isinstance(segmentation, list) and len(segmentation) == 1


def _check_free(root: Path, out: Path, to: WrittenFormat, overwrite: bool) -> None:
    folder = root.resolve() if root.is_dir() else root.resolve().parent
    if out.resolve() == folder or out.resolve() in folder.parents:
        raise InputError(f"{out} holds {root}, the data to convert; name another folder")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{out} exists; name another folder, or replace it with --overwrite")
    others = [out.name] if not out.is_dir() else sorted({path.name for path in out.iterdir()} - set(_LAYOUTS[to]))
    if others:
        raise InputError(f"{out} holds {others[0]}, which is no part of the format {to}; name another folder")


def _write(splits: Sequence[AnnotatedSplit], out: Path, to: WrittenFormat, with_masks: bool, links: bool) -> None:
    with open_whole_folder(out) as work:
        _WRITERS[to](splits, work, with_masks, _link if links else _copy)
        _move(work, out)


def _move(work: Path, out: Path) -> None:
    """Rename `work` to `out`; an existing `out` is deleted only after that."""
    if not out.exists():
        os.rename(work, out)
        return
    os.rename(out, work / ".replaced")
    try:
        os.rename(work, out)
    except OSError:
        os.rename(work / ".replaced", out)
        raise
    shutil.rmtree(out / ".replaced")


def _copy(source: Path, target: Path, image: Mapping[str, Any]) -> None:
    if not _written_upright(source, target, image):
        shutil.copyfile(source, target)


def _link(source: Path, target: Path, image: Mapping[str, Any]) -> None:
    if "embedded_in" in image:
        _copy(source, target, image)
    elif not _written_upright(source, target, image):
        target.symlink_to(source.resolve())


def _written_upright(source: Path, target: Path, image: Mapping[str, Any]) -> bool:
    """Whether a file states an orientation, which not every program applies: it is encoded anew without one."""
    turns = read_header(source).orientation != 1
    if turns:
        write_upright(source, target, (int(image["height"]), int(image["width"])))
    return turns
