import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import detkit.data.samplers as samplers
from detkit.data import EvaluationSampler, TrainingBatchSampler


@pytest.fixture
def be_rank(monkeypatch):
    def be(rank: int, world_size: int) -> None:
        monkeypatch.setattr(samplers, "rank_and_world_size", lambda: (rank, world_size))

    return be


def some_sizes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(50, 100, (count, 2))


def batches(sizes: np.ndarray, epoch: int = 0, **options) -> list[list[int]]:
    sampler = TrainingBatchSampler(sizes, **options)
    sampler.set_epoch(epoch)
    result = list(sampler)
    assert len(result) == len(sampler)
    assert {key[1] for batch in result for key in batch} <= {epoch}
    return [[index for index, _ in batch] for batch in result]


@given(
    count=st.integers(1, 60), batch_size=st.integers(1, 9), seed=st.integers(0, 9), epoch=st.integers(0, 3),
    grouping=st.booleans(),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_whole_batches_of_distinct_images(count, batch_size, seed, epoch, grouping):
    result = batches(some_sizes(count), epoch, batch_size=batch_size, seed=seed, aspect_ratio_grouping=grouping)
    assert len(result) == max(1, count // batch_size)
    assert {len(batch) for batch in result} == {batch_size}
    indices = [index for batch in result for index in batch]
    if count >= batch_size:
        assert len(set(indices)) == len(indices)
    else:
        assert set(indices) == set(range(count))


@pytest.mark.parametrize("seed", range(3))
def test_order_depends_on_seed_and_epoch_alone(seed: int):
    sizes = some_sizes(40)
    first = batches(sizes, 2, batch_size=4, seed=seed)
    assert batches(sizes, 2, batch_size=4, seed=seed) == first
    assert batches(sizes, 3, batch_size=4, seed=seed) != first
    assert batches(sizes, 2, batch_size=4, seed=seed + 1) != first


def test_every_image_has_its_turn():
    """What one epoch leaves out is not always the same."""
    seen = {index for epoch in range(10) for batch in batches(some_sizes(11), epoch, batch_size=4) for index in batch}
    assert seen == set(range(11))


@pytest.mark.parametrize("seed", range(3))
def test_grouping_puts_like_with_like(seed: int):
    sizes = some_sizes(103, seed)
    upright = sizes[:, 0] > sizes[:, 1]
    mixed = sum(len(set(upright[batch])) > 1 for batch in batches(sizes, batch_size=4, seed=seed))
    assert mixed <= 1
    ungrouped = batches(sizes, batch_size=4, seed=seed, aspect_ratio_grouping=False)
    assert sum(len(set(upright[batch])) > 1 for batch in ungrouped) > 5


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("grouping", [True, False])
@pytest.mark.parametrize("count", [5, 40, 41])
def test_ranks_together_are_one_process(be_rank, world_size: int, grouping: bool, count: int):
    options = {"seed": 3, "aspect_ratio_grouping": grouping}
    be_rank(0, 1)
    whole = batches(some_sizes(count), 1, batch_size=4 * world_size, **options)
    parts = []
    for rank in range(world_size):
        be_rank(rank, world_size)
        parts.append(batches(some_sizes(count), 1, batch_size=4, **options))
    assert {len(part) for part in parts} == {len(whole)}
    for k, batch in enumerate(whole):
        assert [index for part in parts for index in part[k]] == batch


def test_skipped_batches_are_those_of_the_first_epoch_only():
    sampler = TrainingBatchSampler(some_sizes(20), batch_size=4, seed=1, skip_batches=2)
    sampler.set_epoch(6)
    whole = TrainingBatchSampler(some_sizes(20), batch_size=4, seed=1)
    whole.set_epoch(6)
    assert list(sampler) == list(whole)[2:]
    assert list(sampler) == list(whole)
    assert len(sampler) == 5


@pytest.mark.parametrize("count", [0, 1, 7, 24])
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_evaluation_visits_every_image_once(be_rank, count: int, world_size: int):
    indices = []
    for rank in range(world_size):
        be_rank(rank, world_size)
        sampler = EvaluationSampler(count)
        own = list(sampler)
        assert len(own) == len(sampler)
        assert abs(len(own) - count / world_size) < 1
        indices += own
    assert sorted(indices) == list(range(count))


def test_one_process_evaluates_in_order():
    assert list(EvaluationSampler(5)) == [0, 1, 2, 3, 4]
