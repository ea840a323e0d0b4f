"""Images and annotations: data sets, augmentation, batches."""

from detkit.data.augmentation import Augmentation
from detkit.data.coco import CocoDataset, find_split
from detkit.data.copy_paste import CopyPaste
from detkit.data.datamodule import DataModule
from detkit.data.dataset import DetectionDataset
from detkit.data.eval_transform import EvalTransform, TransformedImages
from detkit.data.formats import format_of, open_split
from detkit.data.image_class import label_images
from detkit.data.image_dataset import ImageDataset
from detkit.data.image_folder import ImageFolderDataset
from detkit.data.loading import Loader, TrainingDataset, WithProposals, collate, measure_loader
from detkit.data.mixing import Mixing, MixUp, Mosaic
from detkit.data.readers import COCO_READERS, FieldReader, ImageNumbers, ObjectNumbers
from detkit.data.samplers import EvaluationSampler, TrainingBatchSampler
from detkit.data.shapes import ShapesOptions, draw_shapes
from detkit.data.sources import DataSource, UnlabelledImages
from detkit.data.ssd_augmentation import Expand, MinIoUCrop
from detkit.data.voc import VocDataset
from detkit.data.yolo_txt import YoloDataset

__all__ = [
    "COCO_READERS",
    "Augmentation",
    "CocoDataset",
    "CopyPaste",
    "DataModule",
    "DataSource",
    "DetectionDataset",
    "EvalTransform",
    "EvaluationSampler",
    "Expand",
    "FieldReader",
    "ImageDataset",
    "ImageFolderDataset",
    "ImageNumbers",
    "Loader",
    "MinIoUCrop",
    "MixUp",
    "Mixing",
    "Mosaic",
    "ObjectNumbers",
    "ShapesOptions",
    "TrainingBatchSampler",
    "TrainingDataset",
    "TransformedImages",
    "UnlabelledImages",
    "VocDataset",
    "WithProposals",
    "YoloDataset",
    "collate",
    "draw_shapes",
    "find_split",
    "format_of",
    "label_images",
    "measure_loader",
    "open_split",
]
