"""Data sets in COCO, VOC, YOLO, LabelMe, CVAT and folder formats, augmentation, samplers and loaders."""

from detkit.data.datamodule import DataModule
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco import CocoDataset, find_split
from detkit.data.formats.cvat.cvat_dataset import CvatDataset
from detkit.data.formats.field_readers import COCO_READERS, FieldReader, ImageNumbers, ObjectNumbers
from detkit.data.formats.image_folder import ImageFolderDataset
from detkit.data.formats.labelme.labelme_dataset import LabelMeDataset
from detkit.data.formats.maps.coco_panoptic import CocoPanopticDataset
from detkit.data.formats.maps.map_folder import MapFolderDataset
from detkit.data.formats.open_dataset import format_of, open_split
from detkit.data.formats.shapenet.shapenet_dataset import ShapeNetDataset
from detkit.data.formats.voc import VocDataset
from detkit.data.formats.yolo_txt import YoloDataset
from detkit.data.image_dataset import ImageDataset
from detkit.data.instance_maps import InstanceMaps, separation_weights
from detkit.data.loading import Loader, TrainingDataset, WithProposals, measure_loader
from detkit.data.maps.class_weights import median_frequency_weights
from detkit.data.packed.image_class import label_images
from detkit.data.samplers import EvaluationSampler, TrainingBatchSampler
from detkit.data.samples.collation import collate
from detkit.data.shapes import ShapesOptions, draw_shapes
from detkit.data.shapes3d import Shapes3D
from detkit.data.sources import DataSource, UnlabeledImages
from detkit.data.transforms.augmentation import Augmentation
from detkit.data.transforms.copy_paste import CopyPaste
from detkit.data.transforms.eval_transform import EvalTransform, TransformedImages
from detkit.data.transforms.grid_elastic import GridElastic
from detkit.data.transforms.mixing import Mixing, MixUp, Mosaic
from detkit.data.transforms.scaled_crop import ScaledCrop
from detkit.data.transforms.ssd_augmentation import Expand, MinIoUCrop

__all__ = [
    "COCO_READERS",
    "Augmentation",
    "CocoDataset",
    "CocoPanopticDataset",
    "CopyPaste",
    "CvatDataset",
    "DataModule",
    "DataSource",
    "DetectionDataset",
    "EvalTransform",
    "EvaluationSampler",
    "Expand",
    "FieldReader",
    "GridElastic",
    "ImageDataset",
    "ImageFolderDataset",
    "ImageNumbers",
    "InstanceMaps",
    "LabelMeDataset",
    "Loader",
    "MapFolderDataset",
    "MinIoUCrop",
    "MixUp",
    "Mixing",
    "Mosaic",
    "ObjectNumbers",
    "ScaledCrop",
    "ShapeNetDataset",
    "Shapes3D",
    "ShapesOptions",
    "TrainingBatchSampler",
    "TrainingDataset",
    "TransformedImages",
    "UnlabeledImages",
    "VocDataset",
    "WithProposals",
    "YoloDataset",
    "collate",
    "draw_shapes",
    "find_split",
    "format_of",
    "label_images",
    "measure_loader",
    "median_frequency_weights",
    "open_split",
    "separation_weights",
]
