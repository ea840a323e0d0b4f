"""A batch of samples, which go through reading and augmentation together, is what they are one by one."""

import numpy as np
import pytest
import torch

from detkit.data import Augmentation, CocoDataset, DataModule, Mosaic, ShapesOptions, TrainingDataset, draw_shapes
from detkit.errors import InputError

KEYS = [(2, 0), (0, 0), (2, 1), (1, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    options = ShapesOptions(counts={"train": 4, "val": 1}, image_size=(40, 48))
    return draw_shapes(tmp_path_factory.mktemp("batches") / "shapes", options)


@pytest.fixture
def dataset(folder):
    return CocoDataset(folder / "images" / "train", folder / "annotations" / "instances_train.json")


def _equal(one, other):
    assert torch.equal(one[0], other[0])
    for name in ("boxes", "labels", "iscrowd", "area"):
        assert torch.equal(getattr(one[1], name), getattr(other[1], name)), name
    assert one[1].image_id == other[1].image_id


@pytest.mark.parametrize(
    "options",
    [
        {"augmentation": None},
        {"augmentation": Augmentation()},
        {"augmentation": Augmentation(crop=0.5, hue=0.1, vertical_flip=0.5)},
        {"augmentation": Augmentation(), "mixing": [Mosaic(1.0)], "mixing_epochs": 1},
    ],
    ids=["plain", "flips", "crops and colors", "mosaics in the first epoch"],
)
def test_a_batch_is_its_samples(dataset, options):
    training = TrainingDataset(dataset, seed=5, **options)
    for one, key in zip(training.__getitems__(KEYS), KEYS, strict=True):
        _equal(one, training[key])


def test_a_class_with_a_reading_of_its_own_is_asked_for_it(folder):
    class Darkened(CocoDataset):
        def read(self, index):
            image, target = super().read(index)
            return np.zeros_like(image), target

    dataset = Darkened(folder / "images" / "train", folder / "annotations" / "instances_train.json")
    assert not any(image.any() for image, _ in TrainingDataset(dataset).__getitems__(KEYS))


def test_a_broken_file_in_a_batch_is_named(folder, tmp_path):
    data = DataModule(folder, batch_size=4, num_workers=0)
    file = data.train_dataset.images_path / str(data.train_dataset.packed_annotations.file_names[2])
    content = file.read_bytes()
    try:
        file.write_bytes(b"no image")
        with pytest.raises(InputError, match=file.name):
            list(data.train_dataloader())
    finally:
        file.write_bytes(content)
