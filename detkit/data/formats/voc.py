"""Data sets in PASCAL VOC's layout: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, ``JPEGImages/``.

Format: Everingham et al., "The PASCAL Visual Object Classes Challenge 2007 (VOC2007) Development Kit", section 3.
VOC counts pixels from 1 and its corners are part of the box, so that ``xmin ymin xmax ymax`` is our
``xmin - 1, ymin - 1, xmax, ymax``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad, pack_annotations
from detkit.data.formats.file_problems import raise_problems
from detkit.data.old_flags import takes_old_flags
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files import visible
from detkit.images import is_image

NAMES_FILES = ("classes.txt", "labels.txt")
IMAGE_FOLDERS = ("JPEGImages", "images")


class VocDataset(DetectionDataset):
    """Images and targets of one image set of a VOC folder.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels, with
    ``Target.difficult``. The id of an image is its name without suffix. Parts, poses and ``truncated`` are not read.

    Args:
        root: the folder that holds ``Annotations/``, such as ``VOC2007``, or one that holds several of these: then
            all that have the image set are taken together, and ids begin with the folder, as ``VOC2007/000005``.
        split: the image set, ``ImageSets/Main/{split}.txt``.
        class_names: the classes in the order of their labels. None: the lines of ``classes.txt`` or ``labels.txt`` in
            `root`, else all names that occur in ``Annotations/``, sorted.
        reads: the fields of targets to read besides boxes, labels, areas and difficulty: ``masks``, which are
            the filled boxes: VOC's XML has no masks.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the folder is no VOC folder, the image set is missing, or an annotation is wrong; the message
            names the first file and line that is, and how many others are.
    """

    readable = frozenset({"masks"})
    called = "a VOC folder"

    @takes_old_flags(4, ("with_masks",))
    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        self.image_sets = find_image_sets(Path(root), split)
        self.class_names = class_names
        self._on_bad_box: OnBad = on_bad_box
        source = self.image_sets[0] if len(self.image_sets) == 1 else Path(root)
        super().__init__(Path(root), source, reads, on_bad_image)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        problems: list[str] = []
        content = read_voc(self.images_path, self.image_sets, self.class_names, problems)
        raise_problems(problems, self.annotations_path)
        size_of = self._size_in_file(on_bad_image)
        return pack_annotations(content, self.annotations_path, size_of, self.reads, self._on_bad_box)


def is_voc(root: Path) -> bool:
    """Whether a folder is, or holds, one in VOC's layout."""
    return root.is_dir() and bool(_folders(root))


def find_image_sets(root: Path, split: str) -> list[Path]:
    """The files ``ImageSets/Main/{split}.txt`` of a VOC folder, or of all those in it; ``val`` may be ``valid``.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    folders = _folders(root)
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


def _folders(root: Path) -> list[Path]:
    """The folders that hold ``Annotations/`` with XML files: `root`, or folders in it or in its ``VOCdevkit``."""
    candidates = [root], visible(root.glob("*/")), visible(root.glob("VOCdevkit/*/"))
    for folders in candidates:
        voc_folders = [folder for folder in folders if visible(folder.glob("Annotations/*.xml"))]
        if voc_folders:
            return voc_folders
    return []


def read_voc(
    root: Path, image_sets: Sequence[Path], class_names: Sequence[str] | None, problems: list[str]
) -> dict[str, Any]:
    """Read the images and objects of some image sets as the content of a COCO file.

    Objects have ``difficult``, and their ``id`` is their file and line.

    Args:
        root: the folder that file names in the result are relative to.
        image_sets: as of `find_image_sets`.
        class_names: see `VocDataset`.
        problems: a message for each fault, with its file and line, is added; such objects are left out.
    """
    folders = [path.parents[2] for path in image_sets]
    names = list(class_names or _listed_names(root) or _annotated_names(_folders(root)))
    numbers = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for folder, image_set in zip(folders, image_sets, strict=True):
        prefix = f"{folder.relative_to(root).as_posix()}/" if len(image_sets) > 1 else ""
        files = _files_by_stem(folder)
        for stem in _stems(image_set):
            path = folder / "Annotations" / f"{stem}.xml"
            tree = parse_xml(path, problems)
            if tree is None:
                continue
            image_id = f"{prefix}{stem}"
            file = files.get(stem, folder / IMAGE_FOLDERS[0] / f"{stem}.jpg")
            images.append({"id": image_id, "file_name": file.relative_to(root).as_posix(), **_size(tree)})
            annotations.extend(
                {"id": f"{path.relative_to(root).as_posix()}:{line}", "image_id": image_id, **one}
                for line, one in _objects(tree, numbers, path, problems)
            )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _listed_names(root: Path) -> list[str]:
    """The classes that a file in `root` lists, one a line."""
    for name in NAMES_FILES:
        if (root / name).is_file():
            return [line.strip() for line in (root / name).read_text("utf-8-sig").splitlines() if line.strip()]
    return []


def _annotated_names(folders: Sequence[Path]) -> list[str]:
    """All names of objects in any annotation, so that every image set has the same labels."""
    trees = (parse_xml(path, []) for folder in folders for path in visible(folder.glob("Annotations/*.xml")))
    return sorted({entry.child("name").text for tree in trees if tree for entry in tree.children("object")} - {""})


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a VOC folder by their names without suffix."""
    for name in IMAGE_FOLDERS:
        if (folder / name).is_dir():
            files = visible((folder / name).iterdir())
            # Of files of one name, an image before any other.
            return {file.stem: file for file in sorted(files, key=lambda file: is_image(file.name))}
    return {}


def _stems(image_set: Path) -> list[str]:
    """The lines of an image set; lists of a single class have a second column, which is not read."""
    annotations = image_set.parents[2] / "Annotations"
    stems = []
    for line in image_set.read_text("utf-8-sig").splitlines():
        stem, _, column = line.strip().rpartition(" ")
        has_column = column in ("1", "-1", "0") and not (annotations / f"{line.strip()}.xml").is_file()
        stems.append(stem.strip() if has_column else line.strip())
    return [stem for stem in dict.fromkeys(stems) if stem]


def _size(tree: Element) -> dict[str, float | None]:
    """Width and height, where the file states them."""
    size = {side: _number(tree.child("size").child(side).text) for side in ("width", "height")}
    return size if all(size.values()) else {}


def _objects(
    tree: Element, class_numbers: dict[str, int], path: Path, problems: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line of each object, and its class, box and difficulty in COCO's form."""
    for entry in tree.children("object"):
        name, box = entry.child("name"), entry.child("bndbox")
        numbers = (_number(box.child(side).text) for side in ("xmin", "ymin", "xmax", "ymax"))
        corners = [number for number in numbers if number is not None]
        if name.text not in class_numbers:
            known = ", ".join(list(class_numbers)[:20])
            problems.append(f"{path}:{name.line or entry.line}: the class {name.text!r} is not among {known}")
        elif len(corners) < 4:
            problems.append(
                f"{path}:{box.line or entry.line}: an object needs a bndbox with the numbers xmin, ymin, xmax and ymax"
            )
        else:
            xmin, ymin, xmax, ymax = corners
            width, height = (round(side, 6) for side in (xmax - xmin + 1, ymax - ymin + 1))
            yield (
                entry.line,
                {
                    "category_id": class_numbers[name.text],
                    "bbox": [round(xmin - 1, 6), round(ymin - 1, 6), width, height],
                    "difficult": int(bool(_number(entry.child("difficult").text))),
                },
            )


def _number(text: str) -> float | None:
    """None where the text is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class Element:
    """An XML element: its tag, its own text, the line it begins in (0: it is not there), and the elements in it."""

    def __init__(self, tag: str, line: int = 0) -> None:
        self.tag, self.line, self.text = tag, line, ""
        self._children: list[Element] = []

    def add(self, child: Element) -> None:
        """Append `child`."""
        self._children.append(child)

    def child(self, tag: str) -> Element:
        """The first child of that tag, or an empty one."""
        return next(self.children(tag), None) or Element(tag)

    def children(self, tag: str) -> Iterator[Element]:
        """The children of that tag."""
        return (child for child in self._children if child.tag == tag)


def parse_xml(path: Path, problems: list[str]) -> Element | None:
    """The root element of an annotation file; None where it cannot be read, which is added to `problems`."""
    root = Element("")
    open_elements = [root]

    def start(tag: str, _attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber)
        open_elements[-1].add(element)
        open_elements.append(element)

    def end(_tag: str) -> None:
        open_elements[-1].text = open_elements[-1].text.strip()
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        problems.append(f"{path}: cannot read this annotation file ({error.strerror})")
    except expat.ExpatError as error:
        problems.append(f"{path}:{error.lineno}: this is not XML ({expat.ErrorString(error.code)})")
    else:
        annotation = root.child("annotation")
        if annotation.line:
            return annotation
        problems.append(f"{path}:1: a VOC file holds an element <annotation>")
    return None
