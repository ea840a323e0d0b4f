"""Repeat-factor sampling: factors by the paper's formula, and epochs that keep them."""

import math

import numpy as np
import pytest
import torch

from detkit.data import TrainingBatchSampler, TrainingDataset
from detkit.data.packed.repeat_factors import repeat_factors
from detkit.structures import Category, Target


class Labeled:
    """A data set of nothing but labels."""

    packed_annotations = None
    has_image_labels = False
    keypoint_pairs = ()

    def __init__(self, labels: list[list[int]], crowds: tuple[int, ...] = ()) -> None:
        self.labels = labels
        self.crowds = crowds
        self.categories = [Category(number, str(number)) for number in range(1, 4)]

    def __len__(self) -> int:
        return len(self.labels)

    def target(self, index: int) -> Target:
        labels = torch.tensor(self.labels[index], dtype=torch.int64)
        crowd = torch.full((len(labels),), index in self.crowds)
        boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0]]).repeat(len(labels), 1)
        return Target(boxes=boxes, labels=labels, iscrowd=crowd)


def test_the_example_that_detectron2_documents():
    """Its own test has these three images and t = 0.5: f = 2/3 and 1/3."""
    factors = repeat_factors(Labeled([[0, 1], [0], []]), 0.5)
    assert factors.tolist() == pytest.approx([math.sqrt(3 / 2), 1, 1])


def test_an_image_has_the_factor_of_its_rarest_class_whatever_the_number_of_objects():
    factors = repeat_factors(Labeled([[0, 0, 0], [0, 1], *[[0]] * 14]), 0.25)
    assert factors.tolist() == [1, 2, *[1] * 14]  # sqrt(0.25 / (1 / 16))


def test_crowd_regions_do_not_count():
    assert repeat_factors(Labeled([[1], [0], [0], [0]], crowds=(0,)), 0.9).tolist() == pytest.approx(
        [1, *[math.sqrt(0.9 / 0.75)] * 3]
    )


def test_without_a_threshold_there_are_no_factors():
    assert repeat_factors(Labeled([[0]]), None) is None


FACTORS = np.array([1.0, 2.5, 1.3, 3.75, 1.0, 1.2])  # 10.75 in all


def drawn(epoch: int, **options) -> list[int]:
    sampler = TrainingBatchSampler(np.tile([50, 60], (6, 1)), batch_size=2, repeat_factors=FACTORS, **options)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 5  # of the whole batches in the sum of the factors, in every epoch
    assert sampler.images_per_epoch == 10
    return [index for batch in batches for index, _ in batch]


def test_each_epoch_rounds_the_factors_up_or_down():
    for epoch in range(50):
        counts = np.bincount(np.array(drawn(epoch)) % 6, minlength=6)
        assert (counts <= np.ceil(FACTORS)).all()
        assert (np.floor(FACTORS) - counts).clip(0).sum() <= 1  # at most one image makes room for whole batches


def test_images_come_as_often_as_their_factors_on_average():
    epochs = 3000
    counts = sum(np.bincount(np.array(drawn(epoch)) % 6, minlength=6) for epoch in range(epochs)) / epochs
    # The rest of 0.75 images that fills no batch is left out of each epoch, in random order: in proportion.
    assert counts == pytest.approx(FACTORS * 10 / 10.75, rel=0.05)


def test_copies_of_an_image_are_numbered_and_none_comes_twice():
    for epoch in range(20):
        numbers = drawn(epoch)
        assert len(set(numbers)) == len(numbers)


def test_an_epoch_depends_on_seed_and_epoch_alone_and_resumes():
    assert drawn(4, seed=1) == drawn(4, seed=1)
    assert drawn(4, seed=1) != drawn(5, seed=1)
    assert drawn(4, seed=1) != drawn(4, seed=2)
    sampler = TrainingBatchSampler(np.tile([50, 60], (6, 1)), 2, seed=1, skip_batches=3, repeat_factors=FACTORS)
    sampler.set_epoch(4)
    assert [index for batch in sampler for index, _ in batch] == drawn(4, seed=1)[6:]


def test_processes_together_draw_what_one_draws(monkeypatch):
    sizes = np.random.default_rng(0).integers(50, 100, (40, 2))
    factors = np.linspace(1, 3, 40)

    def batches(rank: int, world_size: int, batch_size: int) -> list[list[int]]:
        monkeypatch.setattr("detkit.data.samplers.rank_and_world_size", lambda: (rank, world_size))
        return [[i for i, _ in batch] for batch in TrainingBatchSampler(sizes, batch_size, 3, repeat_factors=factors)]

    parts = [batches(rank, 2, 4) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == batches(0, 1, 8)


def test_factors_of_one_are_the_plain_epoch_in_another_order():
    sampler = TrainingBatchSampler(np.tile([50, 60], (8, 1)), 2, repeat_factors=np.ones(8))
    assert sorted(index for batch in sampler for index, _ in batch) == list(range(8))


def test_a_copy_is_augmented_anew():
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    dataset = Labeled([[0], [0]])
    dataset.read = lambda index: (image, dataset.target(index))
    draws = []

    def augmentation(image, target, random, pairs):
        draws.append(random.random())
        return image, target

    samples = TrainingDataset(dataset, augmentation, seed=1)
    for index in (1, 3, 1):  # image 1, its second copy, image 1
        samples[index, 0]
    assert draws[0] == draws[2] != draws[1]
