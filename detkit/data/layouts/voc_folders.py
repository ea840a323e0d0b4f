"""Where the parts of a PASCAL VOC folder are: ``Annotations/``, and the image sets ``ImageSets/Main/*.txt``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detkit.errors import InputError
from detkit.files import visible, visible_below


def is_voc(root: Path) -> bool:
    """Whether a folder is, or holds, one in VOC's layout."""
    return root.is_dir() and bool(voc_folders(root))


def find_image_sets(root: Path, split: str) -> list[Path]:
    """The files ``ImageSets/Main/{split}.txt`` of a VOC folder, or of all those in it; ``val`` may be ``valid``.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    folders = voc_folders(root)
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
    """Whether a folder itself holds ``Annotations/`` with XML files."""
    return any(name.endswith(".xml") for name in visible_below(folder / "Annotations"))
