"""`RegionDataset`: the base class of data sets whose objects are drawn as regions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad, pack_annotations
from detkit.data.formats.field_readers import MaskReader
from detkit.data.formats.file_problems import raise_problems
from detkit.data.packed.packed_annotations import PackedAnnotations


class RegionDataset(DetectionDataset):
    """Images and targets of one split of a folder, whose masks are the regions of its objects.

    Args:
        root: the folder.
        split: a part of it.
        class_names: the classes in the order of their labels; None: those of the folder.
        reads: the fields of targets to read besides those that the format always has: ``masks``.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the split is missing, or an annotation is wrong; the message names the first one.
    """

    readable = frozenset({"masks"})

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        self.split = split
        self.class_names = class_names
        self._on_bad_box: OnBad = on_bad_box
        super().__init__(Path(root), Path(root), reads, on_bad_image)

    @abstractmethod
    def read_split(self, problems: list[str], bad_boxes: list[str]) -> dict[str, Any]:
        """Read the images and objects of the split as the content of a COCO file.

        Args:
            problems: a message for each fault is added; such objects are left out.
            bad_boxes: the same for those whose region is wrong.
        """

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        problems: list[str] = []
        bad_boxes: list[str] = []
        content = self.read_split(problems, bad_boxes)
        raise_problems(problems, self.images_path, bad_boxes, self._on_bad_box)
        # Outlines belong to the ground truth whether or not targets have masks.
        masks = {"masks"} if any("segmentation" in one for one in content["annotations"]) else set()
        readers = {"masks": MaskReader(warns="masks" in self.reads)}
        reads, size_of = self.reads | masks, self._size_in_file(on_bad_image)
        return pack_annotations(content, self.annotations_path, size_of, reads, self._on_bad_box, readers=readers)
