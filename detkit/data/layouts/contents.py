"""What a data set holds, in a line, and what may be wrong with it; no image is read, and few label maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detkit.data.datamodule import DataModule
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.faults.suspicious_maps import FEW_IMAGES, MapPixels, useless_maps
from detkit.data.image_dataset import ImageDataset
from detkit.data.packed.repeat_factors import repeat_factors


def describe_data(data: DataModule) -> list[str]:
    """A line for each split that a training reads: its images, objects, classes and sizes."""
    splits = {"train": data.train_dataset, data.eval_split: data.eval_dataset}
    lines = [f"{name}: {_contents(dataset)}; {_source(dataset)}" for name, dataset in splits.items()]
    factors = repeat_factors(data.train_dataset, data.repeat_threshold)
    if factors is not None:
        repeated = int(np.count_nonzero(factors > 1))
        lines.append(
            f"repeated: {repeated} of {len(factors)} images hold a class of less than {data.repeat_threshold:g} of the "
            f"images; an epoch draws {int(factors.sum())}, one image at most {factors.max():.3g} times on average"
        )
    return lines


def _source(dataset: ImageDataset) -> str:
    held_out = dataset.held_out if isinstance(dataset, DetectionDataset) else None
    return f"{dataset.annotations_path}{'' if held_out is None else f', {held_out}'}"


def warnings_about_data(data: DataModule) -> Iterator[str]:
    """A sentence for each split without any object, and for the classes that never occur in training."""
    for dataset in (data.train_dataset, data.eval_dataset):
        counts = _class_counts(dataset)
        if counts is not None and not counts.any() and not _has_label_maps(dataset):
            yield f"{dataset.annotations_path}: none of the {len(dataset)} images has an object"
    counts, categories = _class_counts(data.train_dataset), data.train_dataset.categories
    never = [] if counts is None or not counts.any() else [categories[label] for label in np.flatnonzero(counts == 0)]
    absent = [one.name for one in never if one.is_thing]  # stuff has no objects
    if counts is not None and absent:
        what = "1 class never occurs" if len(absent) == 1 else f"{len(absent)} of {len(counts)} classes never occur"
        listed = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
        yield f"{data.train_dataset.annotations_path}: {what} in the training data and cannot be learned: {listed}"


def warnings_about_maps(data: DataModule) -> list[str]:
    """A sentence for each sign that the label maps of the training data are useless; a few of them are read."""
    if "label_map" not in data.reads - data.lacks:
        return []
    dataset = data.train_dataset
    return [f"{dataset.annotations_path}: {sign}" for sign in useless_maps(MapPixels.of(dataset, FEW_IMAGES))]


def _contents(dataset: ImageDataset) -> str:
    maps = " with label maps" if _has_label_maps(dataset) else ""
    images = f"{len(dataset)} images{_sizes(dataset.image_sizes)}{maps}"
    classes, counts = len(dataset.categories), _class_counts(dataset)
    if counts is None or dataset.packed_annotations is None or (maps and not counts.any()):
        return f"{images}, {classes} classes"
    if dataset.has_image_labels:
        present = counts[counts > 0]
        spread = f" with {present.min()} to {present.max()} images each" if len(present) else ""
        return f"{images}, {classes} classes{spread}"
    sides = dataset.packed_annotations.boxes[:, 2:] - dataset.packed_annotations.boxes[:, :2]
    scales = np.sqrt(sides.prod(axis=1))[~dataset.packed_annotations.iscrowd]
    spread = (
        f" ({scales.min():.0f} to {scales.max():.0f} pixels, median {np.median(scales):.0f})" if len(scales) else ""
    )
    num_present = int(np.count_nonzero(counts))
    among = "" if maps or num_present == classes else f"{num_present} of "
    return f"{images}, {counts.sum()} objects{spread} in {among}{classes} classes"


def _sizes(sizes: np.ndarray) -> str:
    """The smallest and the largest size, width first; empty where they are unknown."""
    areas = sizes.prod(axis=1)
    if not areas.any():
        return ""
    (low, width), (high, largest) = sizes[areas.argmin()].tolist(), sizes[areas.argmax()].tolist()
    first, last = f"{width}x{low}", f"{largest}x{high}"
    return f" of {first}" if first == last else f" of {first} to {last}"


def _class_counts(dataset: ImageDataset) -> np.ndarray | None:
    """The objects of each class without crowd regions or, where images have classes, its images; None: not known."""
    packed = dataset.packed_annotations
    if packed is None or ("labels" not in packed.columns and not dataset.has_image_labels):
        return None
    labels = packed.image_labels if dataset.has_image_labels else packed.labels[~packed.iscrowd]
    return np.bincount(labels, minlength=len(dataset.categories))


def _has_label_maps(dataset: ImageDataset) -> bool:
    return dataset.packed_annotations is not None and "label_map" in dataset.packed_annotations.columns
