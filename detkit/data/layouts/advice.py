"""What to do with a folder whose layout is recognized, but cannot be used as it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from detkit.data.layouts.voc_folders import is_voc_annotation
from detkit.data.layouts.yolo_folders import CLASS_LIST, MOST_FILES, first_label_file
from detkit.files import visible_below
from detkit.files.text_documents import read_lines
from detkit.images import is_image

ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"})

_SPLIT_WORDS = ("train", "val", "test")

_COCO_KEYS = (b'"images"', b'"annotations"', b'"categories"')


def advice_about_file(path: Path) -> str:
    """What to do where a folder was expected, in one sentence."""
    if path.suffix.lower() in ARCHIVES:
        return f"{path} is an archive: unpack it, and give the folder"
    if path.suffix.lower() == ".json":
        return f"{path} is a file: give it with --data.train_annotations, and its images with --data.train_images"
    if path.exists():
        return f"{path} is a file: give the folder that it lies in"
    return f"{path}: there is no such folder: name that of the data, with --data.root on a command line"


def advice_about_folder(root: Path, split: str) -> str | None:
    """What to do with a folder that has no split in COCO's layout, in one sentence; None where nothing is recognized.

    Args:
        root: the folder.
        split: that was looked for.
    """
    files = sorted(islice(visible_below(root), MOST_FILES))
    for recognize in (_nested, _xml, _labels, _archives, _images_alone):
        if advice := recognize(root, files, split):
            return advice
    return None


def coco_advice(root: Path, split: str) -> str:
    """How to use the COCO files of a folder whose names have no split, as a clause; empty where there are none."""
    files = sorted(islice(visible_below(root), MOST_FILES))
    names = [name for name in files if name.endswith(".json") and begins_as_coco(root / name)]
    unnamed = [name for name in names if not names_a_split(name)]
    option = f"--data.{split if split in ('train', 'val', 'test') else 'train'}"
    if not unnamed:
        return f"; name one with {option}_annotations FILE {option}_images FOLDER" if names else ""
    folders = [str(PurePosixPath(name).parent) for name in files if is_image(name)]
    images = root / folders[0] if folders else "FOLDER"
    return f"; to read one write {option}_annotations {root / unnamed[0]} {option}_images {images}"


def _nested(root: Path, files: Sequence[str], split: str) -> str | None:
    """Data sets in folders of the folder."""
    found: dict[str, str] = {}
    for name in files:
        folder, *rest = name.split("/")
        if rest in (["data.yaml"], ["data.yml"], ["dataset.yaml"]):
            found.setdefault(folder, "YOLO")
        elif len(rest) == 2 and rest[0] == "Annotations" and name.endswith(".xml"):
            found.setdefault(folder, "VOC")
        elif len(rest) == 2 and (rest[1] == "_annotations.coco.json" or _is_nested_coco(root, name, rest)):
            found.setdefault(folder, "COCO")
    if not found:
        return None
    listed = ", ".join(f"{folder}/ ({kind})" for folder, kind in list(found.items())[:9])
    return f"{root}: the data lies in folders of it, {listed}: give one, --data.root {root / next(iter(found))}"


def _is_nested_coco(root: Path, name: str, rest: Sequence[str]) -> bool:
    return rest[0] == "annotations" and name.endswith(".json") and begins_as_coco(root / name)


def _xml(root: Path, files: Sequence[str], split: str) -> str | None:
    """XML files of VOC in another layout, such as beside the images."""
    first = next((name for name in files if name.endswith(".xml")), None)
    if first is None or not is_voc_annotation(root / first):
        return None
    beside = any(PurePosixPath(name).parent == PurePosixPath(first).parent for name in files if is_image(name))
    return (
        f"{root}: {first} is an annotation in VOC's XML{', beside the images' if beside else ''}: put such files into "
        f"Annotations/, the images into JPEGImages/, and the names of the images of each split, without suffix, into "
        f"ImageSets/Main/{split}.txt"
    )


def _labels(root: Path, files: Sequence[str], split: str) -> str | None:
    """Labels of YOLO without a ``data.yaml``."""
    first = first_label_file(root, files)
    if first is None:
        return None
    folders = sorted({str(PurePosixPath(name).parent) for name in files if is_image(name)})
    folder = next((name for name in folders if split in name), folders[0] if folders else f"images/{split}")
    return (
        f"{root}: {first} is a label file of YOLO, but there is no data.yaml: write one, with the lines "
        f"'{split}: {folder}' and 'names: [{_darknet_names(root, files)}]', and a line for each other split; "
        f"or write {CLASS_LIST}, with one class a line"
    )


def _darknet_names(root: Path, files: Sequence[str]) -> str:
    """The classes of darknet's ``obj.names``, else what to write there."""
    listed = [name for name in files if name.endswith(".names")]
    names = [line for _, line in read_lines(root / listed[0])] if len(listed) == 1 else []
    return ", ".join(names) or "the first class, the second class, …"


def _archives(root: Path, files: Sequence[str], split: str) -> str | None:
    archives = [name for name in files if PurePosixPath(name).suffix.lower() in ARCHIVES]
    if not archives or any(is_image(name) for name in files):
        return None
    return f"{root} holds {archives[0]}, an archive: unpack it, and give the folder"


def _images_alone(root: Path, files: Sequence[str], split: str) -> str | None:
    """No file that could be an annotation."""
    if any(name.endswith((".json", ".xml")) for name in files):
        return None
    held = "images, but no annotations" if any(is_image(name) for name in files) else "no images and no annotations"
    return (
        f"{root} holds {held}: detectors learn from COCO's JSON, VOC's XML, YOLO's labels with a data.yaml, LabelMe's "
        f"JSON or CVAT's XML, segmentation models from images/ beside masks/ and a classes.txt, classifiers from a "
        f"folder of images for each class"
    )


def names_a_split(name: str) -> bool:
    """Whether a file's name has the word train, val or test."""
    return any(word in name.lower() for word in _SPLIT_WORDS)


def begins_as_coco(path: Path) -> bool:
    """Whether a JSON file begins like one of COCO, without reading all of it."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(1 << 16)
    except OSError:
        return False
    return any(key in beginning for key in _COCO_KEYS)
