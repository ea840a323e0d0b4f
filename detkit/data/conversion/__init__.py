"""Convert annotated images between COCO, PASCAL VOC, YOLO, LabelMe and, as a source, CVAT."""

from detkit.data.conversion.convert_folder import Conversion, convert
from detkit.files.annotation_formats import WrittenFormat

__all__ = ["Conversion", "WrittenFormat", "convert"]
