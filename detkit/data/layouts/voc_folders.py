"""Where the parts of a PASCAL VOC folder are: ``Annotations/``, and the image sets ``ImageSets/Main/*.txt``.

Programs that write VOC's XML often leave out the image sets, or put XML files beside the images, in folders of the
splits or in one folder. There the folder of XML files stands for an image set: all of them are the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detkit.data.layouts.split_folders import SPLIT_NAMES, split_folder
from detkit.errors import InputError
from detkit.files import visible, visible_below
from detkit.files.xml_documents import read_xml

ANNOTATION_FOLDERS = ("Annotations", "annotations")


def is_voc(root: Path) -> bool:
    """Whether a folder is, or holds, one in VOC's layout."""
    return root.is_dir() and bool(voc_folders(root) or _unlisted(root, (), "train"))


def find_image_sets(root: Path, split: str) -> list[Path]:
    """The files ``ImageSets/Main/{split}.txt`` of a VOC folder, or of all those in it; ``val`` may be ``valid``.

    Where there are no image sets at all, the folder of XML files of the split: ``{split}/``, also with ``Annotations/``
    in it, or ``Annotations/{split}/``; without such folders, all files are the split train.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    folders = voc_folders(root)
    if unlisted := _unlisted(root, folders, split):
        return unlisted
    if present := [name for name in SPLIT_NAMES if _unlisted(root, folders, name)]:
        raise InputError(f"{root}: there is no split {split} of VOC's XML files, it has {', '.join(present)}")
    if not folders:
        raise InputError(f"{root}: this is no VOC folder, which holds Annotations/, ImageSets/Main/ and JPEGImages/")
    for name in ("val", "valid") if split == "val" else (split,):
        files = [path for folder in folders if (path := folder / "ImageSets" / "Main" / f"{name}.txt").is_file()]
        if files:
            return files
    present = sorted({path.stem for folder in folders for path in visible(folder.glob("ImageSets/Main/*.txt"))})
    raise InputError(
        f"{root}: there is no ImageSets/Main/{split}.txt, which lists the images of the split '{split}'; "
        f"found {', '.join(present[:20]) or 'no such list'}"
    )


def find_splits(root: Path, names: Sequence[str] = ("train", "val", "test")) -> list[str]:
    """Those of `names` that have an image set; ``trainval`` in place of a missing ``train``."""
    splits = [name for name in names if _has_image_set(root, name)]
    if "train" not in splits and _has_image_set(root, "trainval"):
        splits.insert(0, "trainval")
    return splits


def _unlisted(root: Path, folders: Sequence[Path], split: str) -> list[Path]:
    """The folders of XML files that are a split where nothing lists image sets."""
    if any(visible(folder.glob("ImageSets/Main/*.txt")) for folder in folders):
        return []
    of_splits = {name: _split_folder(root, name) for name in dict.fromkeys((*SPLIT_NAMES, split))}
    present = {name: found for name, folder in of_splits.items() if folder and (found := _xml_folder(folder))}
    if present:
        return [present[split]] if split in present else []
    if split != "train":
        return []
    return [_annotations(folder) for folder in folders] if folders else [found] if (found := _xml_folder(root)) else []


def _split_folder(root: Path, split: str) -> Path | None:
    """The folder of a split, in the folder itself or in its ``Annotations/``."""
    parts = [root, *(path for name in ANNOTATION_FOLDERS if (path := root / name).is_dir())]
    return next((folder for part in parts if (folder := split_folder(part, split)) and _xml_folder(folder)), None)


def _xml_folder(folder: Path) -> Path | None:
    """The folder with VOC's XML files: its ``Annotations/``, or itself."""
    if is_voc_folder(folder):
        return _annotations(folder)
    first = next((path for path in visible(folder.glob("*.xml"))), None)
    return folder if first is not None and is_voc_annotation(first) else None


def _annotations(folder: Path) -> Path:
    return next(path for name in ANNOTATION_FOLDERS if (path := folder / name).is_dir())


def is_voc_annotation(path: Path) -> bool:
    """Whether a file is an annotation in VOC's XML."""
    try:
        return read_xml(path).tag == "annotation"
    except InputError:
        return False


def _has_image_set(root: Path, name: str) -> bool:
    try:
        return bool(find_image_sets(root, name))
    except InputError:
        return False


def voc_folders(root: Path) -> list[Path]:
    """The folders that hold ``Annotations/`` with XML files: `root`, or folders in it or in its ``VOCdevkit``."""
    candidates = [root], visible(root.glob("*/")), visible(root.glob("VOCdevkit/*/"))
    for folders in candidates:
        voc_folders = [folder for folder in folders if is_voc_folder(folder)]
        if voc_folders:
            return voc_folders
    return []


def is_voc_folder(folder: Path) -> bool:
    """Whether a folder itself holds ``Annotations/``, or ``annotations/``, with VOC's XML files."""
    if any(name.endswith(".xml") for name in visible_below(folder / "Annotations")):
        return True
    first = next((name for name in visible_below(folder / "annotations") if name.endswith(".xml")), None)
    return first is not None and is_voc_annotation(folder / "annotations" / first)
