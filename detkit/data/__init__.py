"""Images and annotations: data sets, augmentation, batches."""

from detkit.data.augmentation import Augmentation
from detkit.data.coco import CocoDataset, find_split
from detkit.data.datamodule import DataModule
from detkit.data.loading import Loader, TrainingDataset, collate, measure_loader
from detkit.data.samplers import EvaluationSampler, TrainingBatchSampler
from detkit.data.shapes import ShapesOptions, draw_shapes

__all__ = [
    "Augmentation",
    "CocoDataset",
    "DataModule",
    "EvaluationSampler",
    "Loader",
    "ShapesOptions",
    "TrainingBatchSampler",
    "TrainingDataset",
    "collate",
    "draw_shapes",
    "find_split",
    "measure_loader",
]
