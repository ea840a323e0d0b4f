"""The contract of a data set, as a check."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detkit.data import DataModule, EvaluationSampler, ImageDataset, Loader
from detkit.errors import InputError
from detkit.files import read_json
from detkit.structures import Category, Target
from detkit.testing.box_extents import check_extents
from detkit.testing.contract import ContractError, check_pickles, is_close, no_error, require

_OUTSIDE = 1.0  # pixels that a box may lie outside of its image: annotations are rounded
_BATCHES = 4  # that are drawn for training


def check_dataset(dataset: ImageDataset, images: int = 32, num_workers: int = 1, same_size: bool = True) -> None:
    """Hold an `ImageDataset` to its contract: images, their targets, and what training and evaluation make of them.

    Args:
        dataset: of your own class, opened; with the fields that you want to be checked (`ImageDataset.reading`).
        images: how many images are read, evenly spread over the data set.
        num_workers: processes that batches are drawn with; 0: this one alone.
        same_size: whether `image_sizes` must be those of the images, where they are not zeros.

    Raises:
        ContractError: a rule is broken; the message says which, and names the image.
    """
    owner = type(dataset).__name__
    require(isinstance(dataset, ImageDataset), f"a data set is a detkit.data.ImageDataset: got {owner}, derive it")
    categories = _categories(dataset, owner)
    count = _check_index(dataset, owner)
    rows = sorted(set(np.linspace(0, count - 1, min(images, count)).astype(int).tolist()))
    copy = check_pickles(dataset, owner, "worker processes get it so")
    targets = {}
    for row in rows:
        where = f"{owner}, image {row} (id {dataset.image_ids[row]!r})"
        targets[row] = _check_sample(dataset, copy, row, len(categories), same_size, where)
    check_extents(list(targets.values()), owner)
    _check_truth(dataset, targets, owner)
    _check_fields(dataset, owner)
    _check_batches(dataset, rows, num_workers, owner)


def _categories(dataset: ImageDataset, owner: str) -> Sequence[Category]:
    with no_error(f"{owner}.categories", "give a list of detkit.structures.Category"):
        categories = dataset.categories
    is_list = isinstance(categories, list) and len(categories) > 0
    require(
        is_list and all(isinstance(one, Category) for one in categories),
        f"{owner}.categories must be a list of at least one detkit.structures.Category: got {categories!r:.80}",
    )
    ids, names = [one.id for one in categories], [one.name for one in categories]
    require(
        all(low < high for low, high in itertools.pairwise(ids)),
        f"{owner}.categories must be sorted by id, each id once, since the position is the label: got ids {ids[:8]}",
    )
    require(len(set(names)) == len(names), f"{owner}.categories must have each name once, by which models are joined")
    return categories


def _check_index(dataset: ImageDataset, owner: str) -> int:
    """Length, ids and sizes go together; gives the length."""
    with no_error(f"{owner}.image_ids", "give the ids of all images in order"):
        ids = list(dataset.image_ids)
    require(len(ids) > 0, f"{owner} has no images: open a split that has some")
    require(len(dataset) == len(ids), f"{owner} has length {len(dataset)} but {len(ids)} image_ids")
    kinds = {type(one) for one in ids}
    require(
        kinds in ({int}, {str}),
        f"{owner}.image_ids must be all of Python's int or all str: got {', '.join(sorted(k.__name__ for k in kinds))}",
    )
    require(len(set(ids)) == len(ids), f"{owner}.image_ids must be unique, since answers are joined by them")
    with no_error(f"{owner}.image_sizes", "give an array (n, 2) of height and width, zeros where they are unknown"):
        sizes = np.asarray(dataset.image_sizes)
    require(
        sizes.shape == (len(ids), 2) and np.issubdtype(sizes.dtype, np.integer),
        f"{owner}.image_sizes must be ({len(ids)}, 2) integers, height and width: got {sizes.shape} {sizes.dtype}",
    )
    return len(ids)


def _check_sample(
    dataset: ImageDataset, copy: ImageDataset, row: int, num_classes: int, same_size: bool, where: str
) -> Target:
    with no_error(f"{where}: read"):
        image, target = dataset.read(row)
    is_image = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
    require(is_image, f"{where}: read must give an RGB array (H, W, 3) uint8: got {got}")
    size, declared = image.shape[:2], tuple(np.asarray(dataset.image_sizes)[row].tolist())
    require(
        not same_size or declared in (size, (0, 0)),
        f"{where}: image_sizes says {declared} (height, width), but the image has {tuple(size)}; give zeros where "
        "sizes are unknown",
    )
    _check_target(dataset, target, row, num_classes, size, where)
    for other, call in ((dataset, "a second time"), (copy, "in a worker process")):
        again = other.read(row)
        require(
            np.array_equal(again[0], image) and is_close(again[1], target),
            f"{where} is not the same when it is read {call}: vary images by data.augmentation, not in read",
        )
    with no_error(f"{where}: target", "it gives what read gives, without the image"):
        alone = dataset.target(row)
    require(is_close(alone, target), f"{where}: target(index) and read(index)[1] differ: they are the same target")
    tensor, _ = dataset[row]
    same = torch.equal(tensor, torch.from_numpy(image).permute(2, 0, 1))
    require(same, f"{where}: dataset[index] must hold the pixels of read(index); do not override __getitem__")
    return target


def _check_target(
    dataset: ImageDataset, target: Target, row: int, num_classes: int, size: tuple[int, ...], where: str
) -> None:
    kind = dataset.target_class
    got = type(target).__name__
    require(isinstance(target, kind), f"{where}: its target must be a {kind.__name__}, the target_class: got {got}")
    expected = dataset.image_ids[row]
    require(
        type(target.image_id) is type(expected) and target.image_id == expected,
        f"{where}: its target has image_id {target.image_id!r}: it must be that of image_ids",
    )
    boxes, labels = target.boxes, target.labels
    require((boxes is None) == (labels is None), f"{where}: boxes and labels must both be given, or both None")
    if boxes is not None and labels is not None:
        wrong = [label for label in labels.tolist() if not 0 <= label < num_classes]
        require(
            not wrong,
            f"{where}: labels must lie in 0..{num_classes - 1}, positions in categories and not ids: got {wrong[:3]}",
        )
        height, width = size
        good = boxes.isfinite().all(dim=1) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        good &= (boxes >= -_OUTSIDE).all(dim=1) & (boxes <= boxes.new_tensor([width, height] * 2) + _OUTSIDE).all(dim=1)
        require(
            bool(good.all()),
            f"{where}: boxes must be x1 y1 x2 y2 with x1 < x2 and y1 < y2, within {width} x {height} pixels: got "
            f"{boxes[~good][:1].tolist()}",
        )
    label = target.image_label
    require(
        label is None or 0 <= label < num_classes, f"{where}: image_label must lie in 0..{num_classes - 1}, got {label}"
    )
    require(
        dataset.has_image_labels == (label is not None),
        f"{where}: image_label is {label}, but has_image_labels is {dataset.has_image_labels}: let them agree",
    )
    for name, one in target.kinds().items():
        value = getattr(target, name)
        pixels = None if value is None else one.image_size(value)
        require(
            pixels is None or tuple(pixels) == tuple(size),
            f"{where}: its {name} have {pixels} pixels (height, width), but the image has {tuple(size)}",
        )


def _check_truth(dataset: ImageDataset, targets: dict[int, Target], owner: str) -> None:
    """The ground truth has the same images, classes and objects as the targets."""
    where = f"{owner}.ground_truth"
    with no_error(where, "give the path of a COCO file or its content"):
        content = dataset.ground_truth()
        truth: Any = read_json(content) if isinstance(content, (str, Path)) else content
        ids = [entry["id"] for entry in truth["images"]]
        categories = {entry["id"]: entry["name"] for entry in truth["categories"]}
        objects: dict[Any, list[Any]] = {image_id: [] for image_id in ids}
        for entry in truth["annotations"]:
            objects[entry["image_id"]].append(entry)
    with no_error(where, "let it hold plain values alone, as a file would"):
        json.dumps(truth)
    missing = [image_id for image_id in dataset.image_ids if image_id not in objects]
    require(not missing, f"{where} has no image {missing[:3]}: list all image_ids, also those without objects")
    named = {one.id: one.name for one in dataset.categories}
    require(named == categories, f"{where} has the categories {categories}, but the data set {named}")
    for row, target in targets.items():
        if target.boxes is None or target.labels is None:
            continue
        image_id = dataset.image_ids[row]
        own = sorted(_entry(box, dataset.categories[label].id) for box, label in zip(
            target.boxes.tolist(), target.labels.tolist(), strict=True))  # fmt: skip
        listed = sorted(_entry(_corners(entry["bbox"]), entry["category_id"]) for entry in objects[image_id])
        close = len(own) == len(listed) and np.allclose(own or 0, listed or 0, atol=_OUTSIDE)
        require(
            close,
            f"{where}: image {image_id!r} has {len(listed)} objects (first {listed[:1]}), but its target "
            f"{len(own)} (first {own[:1]}): evaluation and training must have the same",
        )


def _entry(box: Sequence[float], category_id: int) -> list[float]:
    return [category_id, *box]


def _corners(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [x, y, x + width, y + height]


def _check_fields(dataset: ImageDataset, owner: str) -> None:
    """A field that targets do not have is refused."""
    try:
        dataset.reading({"no_such_field"})
    except InputError:
        return
    except Exception as error:
        raise ContractError(f"{owner}.reading of an unknown field must raise InputError: got {error!r}") from error
    raise ContractError(f"{owner}.reading takes the field 'no_such_field', which there is not: call check_fields")


def _check_batches(dataset: ImageDataset, rows: Sequence[int], num_workers: int, owner: str) -> None:
    """The loaders of a training give its images, each once an epoch."""
    data = DataModule(dataset=lambda split: dataset, batch_size=2, num_workers=num_workers)
    with no_error(f"{owner} in DataModule.train_dataloader", "it must go through the loader and its augmentation"):
        for _, (images, targets) in zip(range(_BATCHES), data.train_dataloader(), strict=False):
            known = set(dataset.image_ids)
            require(
                len(images) == len(targets) and all(target.image_id in known for target in targets),
                f"{owner}: the training loader gives images that are not in image_ids",
            )
    if len(rows) < len(dataset):
        return
    seen: list[Any] = []
    with no_error(f"{owner} in DataModule.val_dataloader", "it must go through the loader"):
        for _, targets in Loader(dataset, num_workers, batch_size=2, sampler=EvaluationSampler(len(dataset))):
            seen += [target.image_id for target in targets]
    require(sorted(seen) == sorted(dataset.image_ids), f"{owner}: an evaluation must get every image once")
