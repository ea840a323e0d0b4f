"""Data sets with a COCO annotation file, and where the splits of a COCO folder are."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from detkit.coco_files.entry_lists import is_plain_text
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad, read_annotations, read_coco_file
from detkit.data.formats.field_readers import COCO_READERS, FieldReader
from detkit.data.layouts.advice import (
    advice_about_file,
    advice_about_folder,
    begins_as_coco,
    coco_advice,
    names_a_split,
)
from detkit.data.old_flags import takes_old_flags
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files import named_file, parse_json, read_bytes, visible


class CocoDataset(DetectionDataset):
    """Images and targets of one COCO annotation file.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. Annotations are held
    packed in arrays, so that worker processes share them. An annotation with ``iscrowd`` or ``ignore`` set becomes
    ``Target.iscrowd``, in evaluation too. A missing ``bbox`` is the box around the segmentation, a missing ``area`` the
    segmentation's or else the box's, a missing ``segmentation`` is the box filled, a missing ``width`` or ``height`` is
    read from the image file.

    Args:
        images: folder that the file names in the JSON are relative to.
        annotations: the JSON file.
        reads: the fields of targets to read besides boxes, labels, areas, crowd regions and difficulty: ``masks``,
            ``keypoints`` (``x y`` as written in the file), ``label_map``, ``panoptic_map``, ``camera``, or others of
            `readers`.
        on_bad_image: "error" raises when an unreadable image is read; "skip" decodes every file once at the start and
            leaves out those that are unreadable or do not have the size in the JSON.
        on_bad_box: "error" raises where a box has no area or lies outside its image; "skip" leaves such boxes out.

    Attributes:
        readers: the reader of each field that can be read; a subclass may add more.

    Raises:
        InputError: the annotation file is wrong, an image file is missing, or, when indexed, cannot be decoded.
    """

    readers: ClassVar[Mapping[str, FieldReader]] = COCO_READERS
    called = "a COCO file"
    advice = "give its class a reader for it, see docs/extend/field.md"

    @takes_old_flags(3)
    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        self._on_bad_box: OnBad = on_bad_box
        super().__init__(Path(images), Path(annotations), reads, on_bad_image)

    # Elsewhere a constant of the class, here given by its readers.
    @property
    def readable(self) -> frozenset[str]:  # type: ignore[override]
        """The fields that can be read."""
        return frozenset(self.readers)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        size_of = self._size_in_file(on_bad_image)
        return read_annotations(
            self.annotations_path, size_of, self.reads, self._on_bad_box, self.images_path, self.readers
        )

    def ground_truth(self) -> Path | dict:
        """The ground truth for evaluation: the path of the annotation file or, if something was left out, its other
        content."""
        if self.has_image_labels:
            return super().ground_truth()
        if len(self) == self._num_annotated_images and not self._packed.dropped:
            return self.annotations_path
        content = read_coco_file(self.annotations_path)
        images, dropped_rows = set(self.image_ids), set(self._packed.dropped)
        content["images"] = [image for image in content["images"] if image["id"] in images]
        content["annotations"] = [
            annotation
            for row, annotation in enumerate(content["annotations"])
            if annotation["image_id"] in images and row not in dropped_rows
        ]
        return content


def find_split(root: str | Path, split: str) -> tuple[Path, Path]:
    """The images folder and the annotation file of one split of a COCO folder.

    Annotation files: ``{split}.json``, ``instances_{split}.json``, ``instances_{split}20XX.json``, ``*_{split}.json``
    or ``*_{split}20XX.json``, in ``annotations/`` or the folder itself, or ``{split}/_annotations.coco.json``. Images:
    in ``images/{split}``, ``images/{split}20XX``, ``{split}``, ``{split}20XX``, ``images`` or the folder itself, the
    first of these that holds the first file of the annotations. The split ``val`` may be called ``valid``. In a folder
    where no file names a split, a file of any name is that of ``train``, and images may lie in any folder.

    Returns:
        The images folder and the annotation file.

    Raises:
        InputError: nothing or more than one file fits; the message lists what was looked for and what is there.
    """
    root = Path(root)
    annotations = find_annotations(root, split)
    is_unnamed = not _matches(root, split)
    return find_images(root, split, annotations, any_folder=is_unnamed), annotations


def _names(split: str) -> tuple[str, ...]:
    """The names of a split in patterns of files."""
    if not split or "/" in split or "\0" in split:
        raise InputError(f"{split!r} is no name of a split; give one such as train")
    return ("val", "valid") if split == "val" else (glob.escape(split),)


def has_split(root: Path, split: str, also_unnamed: bool = False) -> bool:
    """Whether a COCO folder has an annotation file for a split, or several.

    Args:
        root: the folder.
        split: such as ``train``.
        also_unnamed: whether a file whose name has no split counts as that of ``train``, see `find_split`.
    """
    return bool(_matches(root, split) or (also_unnamed and _unnamed(root, split)))


def _annotation_patterns(split: str) -> list[str]:
    forms = ("{}.json", "instances_{}.json", "instances_{}20??.json", "*_{}.json", "*_{}20??.json")
    return [form.format(name) for form in forms for name in _names(split)]


def _matches(root: Path, split: str) -> list[Path]:
    """The annotation files that fit the first of the patterns with a match."""
    patterns = [f"{folder}{pattern}" for pattern in _annotation_patterns(split) for folder in ("annotations/", "")]
    for pattern in (*patterns, *(f"{name}/_annotations.coco.json" for name in _names(split))):
        matches = visible(root.glob(pattern), root)
        if matches:
            return matches
    return []


def _unnamed(root: Path, split: str) -> list[Path]:
    """The annotation files of a folder without splits, for the split train."""
    if split != "train" or any(_matches(root, name) for name in ("val", "test")):
        return []
    files = visible((*root.glob("annotations/*.json"), *root.glob("*.json")), root)
    return [path for path in files if begins_as_coco(path) and not names_a_split(path.name)]


def find_annotations(root: Path, split: str) -> Path:
    """The annotation file of one split of a COCO folder; see `find_split`.

    Raises:
        InputError: there is none or more than one; the message says what was recognized instead.
    """
    if not root.is_dir():
        raise InputError(advice_about_file(root))
    matches = _matches(root, split) or _unnamed(root, split)
    if len(matches) > 1:
        raise InputError(
            f"{root}: {', '.join(match.name for match in matches)} all fit the split '{split}'; "
            f"choose one with --data.{split}_annotations"
        )
    if matches:
        return matches[0]
    if advice := advice_about_folder(root, split):
        raise InputError(advice)
    present = [str(file.relative_to(root)) for file in visible((*root.glob("*.json"), *root.glob("*/*.json")), root)]
    patterns = ", ".join(_annotation_patterns(split))
    hint = "" if split != "train" and _unnamed(root, "train") else coco_advice(root, split)
    raise InputError(
        f"{root}: no annotation file for the split '{split}': looked for {patterns} in annotations/ and the "
        f"folder itself, found {', '.join(present) or 'no JSON file'}{hint}"
    )


def find_images(root: Path, split: str, annotations: Path, any_folder: bool = False) -> Path:
    """The folder of the images of an annotation file in a COCO folder; see `find_split`.

    Args:
        root: the COCO folder.
        split: whose images they are.
        annotations: the file.
        any_folder: whether they may lie in a folder of any name, as with a file that was given by its path.

    Raises:
        InputError: there is none.
    """
    if not root.is_dir():
        raise InputError(advice_about_file(root))
    first = _first_file_name(annotations)
    forms = ("images/{}", "images/{}20??", "{}", "{}20??")
    patterns = [form.format(name) for form in forms for name in _names(split)] + ["images"]
    folders = [folder for pattern in patterns for folder in visible(root.glob(pattern), root) if folder.is_dir()]
    for folder in folders:
        if first and os.path.isfile(named_file(folder, first)):
            return folder
    if first and os.path.isfile(named_file(root, first)):
        return root
    if first and any_folder:
        for folder in (*visible(root.glob("images/*/")), *visible(root.glob("*/")), annotations.parent):
            if os.path.isfile(named_file(folder, first)):
                return folder
    if folders:
        return folders[0]  # the data set then names the missing files
    present = [folder.name for folder in visible(root.iterdir()) if folder.is_dir()]
    raise InputError(
        f"{root}: no images folder for the split '{split}': looked for {', '.join(patterns)}, "
        f"found the folders {', '.join(present) or '(none)'}; give the folder with --data.{split}_images"
    )


def _first_file_name(annotations: Path) -> str:
    """The file name of the first image, found without parsing a file that may have hundreds of megabytes."""
    content = read_bytes(annotations, "a JSON file")
    if not (encoding := json.detect_encoding(content)).startswith("utf-8"):
        content = content.decode(encoding, errors="replace").encode(errors="replace")
    match = re.search(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', content)
    name = parse_json(match.group(1), str(annotations)) if match else ""
    return name if is_plain_text(name) else ""
