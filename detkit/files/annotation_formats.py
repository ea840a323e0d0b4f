"""The names of annotation formats, for arguments and options. Readers and writers are in `detkit.data.formats`."""

from typing import Literal

BoxFormat = Literal["coco", "voc", "yolo", "labelme", "cvat"]
"""The formats with boxes."""

MapFormat = Literal["maps", "voc_segmentation", "cityscapes", "ade20k", "camvid", "coco_panoptic", "coco_stuff"]
"""The formats whose annotations are images; ``maps`` is any folder of images and label maps."""

Format = Literal[BoxFormat, "folders", "shapenet", MapFormat]
"""All formats that are read; ``folders`` is ImageNet's layout, a folder per class."""

WrittenFormat = Literal["coco", "voc", "yolo", "labelme", "maps", "coco_panoptic"]
"""The formats that are written."""
