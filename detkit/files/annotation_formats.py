"""The names of annotation formats, for arguments and options. Readers and writers are in `detkit.data.formats`."""

from typing import Literal

BoxFormat = Literal["coco", "voc", "yolo", "labelme", "cvat"]
"""The formats with boxes."""

Format = Literal["coco", "voc", "yolo", "labelme", "cvat", "folders"]
"""All formats that are read; ``folders`` is ImageNet's layout, a folder per class."""

WrittenFormat = Literal["coco", "voc", "yolo", "labelme"]
"""The formats that are written."""
