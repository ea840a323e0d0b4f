"""Read one XML file of CVAT as the content of a COCO file."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detkit.data.formats.cvat.cvat_shapes import REGIONS, object_of, rotation
from detkit.data.formats.cvat.cvat_tracks import shapes_by_frame
from detkit.data.layouts.class_lists import not_among
from detkit.data.layouts.split_folders import is_named
from detkit.errors import InputError
from detkit.files import FileNames, visible_below
from detkit.files.json_values import shown
from detkit.files.text_documents import whole_number_in
from detkit.files.xml_documents import Element
from detkit.images import image_size, is_image

logger = logging.getLogger(__name__)

_LAST_NUMBER = re.compile(r"(\d+)$")


class CvatFile:
    """An XML file and the image files around it.

    Args:
        path: the file.
        tree: its content.
        root: the folder that file names are relative to.
    """

    def __init__(self, path: Path, tree: Element, root: Path) -> None:
        self.path = path
        self.tree = tree
        folder = path.parent.parent if path.parent.name == "annotations" else path.parent
        self.prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        self.files = FileNames(sorted(filter(is_image, visible_below(folder))))
        self.root = root
        self._source = path.relative_to(root).as_posix()
        self._left_out: Counter[str] = Counter()

    def read(
        self, split: str | None, numbers: Mapping[str, int], problems: list[str], bad_boxes: list[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The images and the objects of a split.

        Args:
            split: that the subset of the images must name; None: all images.
            numbers: the category id of each class.
            problems: a message for each fault, with file and line, is added; such objects are left out.
            bad_boxes: likewise, for those whose region is wrong.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image, shapes in self._images(split, problems):
            images.append(image)
            for shape in shapes:
                values = self._object(shape, numbers, (image["height"], image["width"]), problems, bad_boxes)
                if values is not None:
                    # The line alone is no id: a shape between two keyframes has that of the first.
                    name = f"{self._source}:{shape.line}, object {len(annotations)}"
                    annotations.append({"id": name, "image_id": image["id"], **values})
        if self._left_out:
            counts = " and ".join(f"{count} of the kind {kind}" for kind, count in sorted(self._left_out.items()))
            logger.warning("%s: shapes without area are no objects and were left out: %s", self.path, counts)
        rotated = sum(1 for image in self.tree.children() for shape in image.children("box") if _is_rotated(shape))
        if rotated:
            logger.warning("%s: %d rotated boxes became the upright boxes around them", self.path, rotated)
        return images, annotations

    def _images(self, split: str | None, problems: list[str]) -> Iterator[tuple[dict[str, Any], list[Element]]]:
        """The entry of each image in a COCO file, and its shapes."""
        for element in self.tree.children("image"):
            subset = element.attributes.get("subset", "")
            if split is not None and not is_named(subset, split):
                continue
            try:
                name = self._file(element.attributes.get("name", ""), subset, element.line)
                yield self._image(name, element.attributes.get), list(element.children())
            except InputError as error:
                problems.append(str(error))
        tracks = list(self.tree.children("track"))
        if tracks:
            yield from self._frames(tracks, problems)

    def _frames(self, tracks: list[Element], problems: list[str]) -> Iterator[tuple[dict[str, Any], list[Element]]]:
        """The frames of a video that have an image file ``frame_000012.png``, and the shapes in them."""
        files = {}
        for name in self.files.names:
            number = _LAST_NUMBER.search(os.path.splitext(name)[0])
            if number:
                files[int(number.group(1))] = name
        shapes: dict[int, list[Element]] = defaultdict(list)
        for track in tracks:
            try:
                for frame, shape in shapes_by_frame(track):
                    label = {"label": track.attributes.get("label", "")}
                    shapes[frame].append(Element(shape.tag, shape.line, {**shape.attributes, **label}))
            except InputError as error:
                problems.append(f"{self.path}:{track.line}: the track {track.attributes.get('id')}: {error}")
        missing = sorted(set(shapes) - set(files))
        if missing:
            problems.append(
                f"{self.path}: {len(missing)} annotated frames have no image (first: frame {missing[0]}); export with "
                f"images, or cut the video into images/frame_{missing[0]:06d}.png and so on"
            )
        for frame, name in sorted(files.items()):
            try:
                yield self._image(name, self._size_of_video().get), shapes[frame]
            except InputError as error:
                problems.append(str(error))

    def _size_of_video(self) -> dict[str, str]:
        for part in self.tree.child("meta").children():
            size = part.child("original_size")
            if size.line:
                return {side: size.child(side).text for side in ("width", "height")}
        return {}

    def _image(self, name: str, stated: Any) -> dict[str, Any]:
        width, height = (whole_number_in(stated(side) or "0") for side in ("width", "height"))
        file_name = f"{self.prefix}{name}"
        if not width or not height or min(width, height) < 1:
            height, width = image_size(self.root / file_name)
        return {"id": file_name, "file_name": file_name, "height": height, "width": width}

    def _file(self, name: str, subset: str, line: int) -> str:
        """The image file that the XML names.

        Raises:
            InputError: there is none, or several that fit.
        """
        found = [self.files.names[position] for position in self.files.find(name)] if name else []
        if len(found) > 1:
            found = [one for one in found if subset and subset in one.split("/")] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{self.path}:{line}: {name!r} can be {found[0]} or {found[1]}; remove one of them")
        raise InputError(
            f"{self.path}:{line}: there is no image {shown(name)} in {self.path.parent}; export with images, or copy "
            f"them to {self.path.parent / 'images'}"
        )

    def _object(
        self,
        shape: Element,
        numbers: Mapping[str, int],
        size: tuple[int, int],
        problems: list[str],
        bad_boxes: list[str],
    ) -> dict[str, Any] | None:
        label = shape.attributes.get("label", "")
        if shape.tag not in REGIONS:
            self._left_out[shape.tag] += 1
        elif label not in numbers:
            problems.append(f"{self.path}:{shape.line}: the label {not_among(label, numbers)}")
        else:
            try:
                return {"category_id": numbers[label], **object_of(shape, size)}
            except InputError as error:
                bad_boxes.append(f"{self.path}:{shape.line}: this {shape.tag} is wrong: {error}")
        return None


def _is_rotated(shape: Element) -> bool:
    try:
        return rotation(shape) != 0
    except InputError:
        return False
