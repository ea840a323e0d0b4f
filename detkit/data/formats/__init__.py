"""Readers of COCO, PASCAL VOC, YOLO, LabelMe, CVAT and class folders, and writers of all but the last two."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "BoxFormat": "detkit.files.annotation_formats.BoxFormat",
        "Format": "detkit.files.annotation_formats.Format",
        "format_of": "detkit.data.formats.open_dataset.format_of",
        "open_split": "detkit.data.formats.open_dataset.open_split",
    },
)
