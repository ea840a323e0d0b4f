"""`label_confusion` and `label_pairs`: the kernels against counting pixel by pixel, and what both refuse."""

import numpy as np
import pytest
import torch

from detkit import ops
from detkit.errors import InputError
from detkit.ops.maps.label_confusion import LABEL_DTYPES, label_confusion_reference
from detkit.ops.maps.label_pairs import label_pairs_reference

RUNS = [1, 5, 200]  # how many neighboring pixels are alike


def labels(seed, count, low, high, run, dtype=torch.int64):
    """A map whose pixels are alike in runs of about that length."""
    random = np.random.default_rng(seed)
    values = random.integers(low, high, count // run + 1)
    return torch.from_numpy(np.repeat(values, random.integers(1, 2 * run + 1, len(values)))[:count]).to(dtype)


def pair(seed, count, low, high, run, dtype=torch.int64):
    maps = labels(seed, count, low, high, run), labels(seed + 1000, count, low, high, run)
    least = min(map(len, maps))
    return tuple(one[:least].to(dtype) for one in maps)


def counted(truth, answer, rows, columns):
    """By plain counting of each pixel."""
    counts = np.zeros((rows, columns + 1), dtype=np.int64)
    for own, given in zip(truth.flatten().tolist(), answer.flatten().tolist(), strict=True):
        if 0 <= own < rows:
            counts[own, given if 0 <= given < columns else columns] += 1
    return torch.from_numpy(counts)


class TestLabelConfusion:
    @pytest.mark.parametrize("dtype", LABEL_DTYPES, ids=str)
    @pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
    @pytest.mark.parametrize("run", RUNS)
    def test_counts_each_pixel_once(self, implementation, run, count, dtype):
        for seed, (rows, columns) in enumerate([(1, 1), (19, 19), (4, 7), (0, 3), (3, 0)]):
            low = 0 if dtype == torch.uint8 else -2
            truth, answer = pair(seed, count, low, 22, run, dtype)
            truth[::7], answer[::5] = (255, 255) if dtype == torch.uint8 else (-1, -1)
            counts = ops.label_confusion(truth, answer, rows, columns)
            assert counts.dtype == torch.int64
            assert torch.equal(counts, counted(truth, answer, rows, columns))

    def test_equals_bincount_on_fresh_maps(self, native):
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        random = np.random.default_rng(seed)
        for trial in range(20):
            classes, run = int(random.integers(1, 256)), int(random.choice([1, 3, 50, 3000]))
            truth, answer = pair(seed + trial, 20_000, 0, 256, run, torch.uint8)
            is_counted = (truth < classes).numpy()
            own, given = truth.numpy()[is_counted].astype(np.int64), answer.numpy()[is_counted].astype(np.int64)
            cells = own * (classes + 1) + np.minimum(given, classes)
            expected = np.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
            counts = ops.label_confusion(truth, answer, classes).numpy()
            np.testing.assert_array_equal(counts, expected, err_msg=f"seed {seed}, trial {trial}")

    @pytest.mark.parametrize("classes", [126, 127, 128, 255, 256, 300, 1203])
    def test_many_classes(self, native, classes):
        truth, answer = pair(classes, 50_000, -1, classes + 1, 2, torch.int16)
        assert torch.equal(
            ops.label_confusion(truth, answer, classes), label_confusion_reference(truth, answer, classes, classes)
        )
        everything = torch.arange(256).byte().repeat(256), torch.arange(256).byte().repeat_interleave(256)
        assert torch.equal(
            ops.label_confusion(*everything, classes), label_confusion_reference(*everything, classes, classes)
        )

    @pytest.mark.parametrize("threads", [1, 4])
    def test_large_maps_are_shared_by_threads(self, native, threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            truth, answer = pair(0, 1_500_000, 0, 21, 9, torch.uint8)
            assert torch.equal(ops.label_confusion(truth, answer, 19), label_confusion_reference(truth, answer, 19, 19))
        finally:
            torch.set_num_threads(before)

    def test_maps_of_two_dtypes_and_of_any_layout(self, implementation):
        truth, answer = pair(3, 1200, 0, 9, 4)
        truth, answer = truth[:900].reshape(30, 30), answer[:900].reshape(30, 30)
        expected = counted(truth.T[::2], answer.T[::2], 7, 7)
        assert torch.equal(ops.label_confusion(truth.byte().T[::2], answer.short().T[::2], 7), expected)

    def test_the_void_of_uint8_stays_void_where_the_answer_is_wider(self, implementation):
        truth, answer = torch.tensor([255, 0], dtype=torch.uint8), torch.tensor([0, -1], dtype=torch.int16)
        assert ops.label_confusion(truth, answer, 2).tolist() == [[0, 0, 1], [0, 0, 0]]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((torch.zeros(3), torch.zeros(3), 2), "truth must be a tensor of uint8"),
            ((torch.zeros(3, dtype=torch.int64), [0, 0, 0], 2), "answer must be a tensor .*got list"),
            ((torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 2), "of one shape"),
            ((torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), -1), "rows must be from 0"),
            ((torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 2, 10**6), "columns must be"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, arguments, message):
        with pytest.raises(InputError, match=message):
            ops.label_confusion(*arguments)

    def test_opcheck(self, native):
        truth, answer = pair(1, 100, 0, 5, 3, torch.uint8)
        torch.library.opcheck(torch.ops.detkit.label_confusion.default, (truth, answer, 4, 6))

    def test_on_cuda(self, cuda):
        for classes in (3, 19, 200):
            for run in RUNS:
                truth, answer = pair(run, 100_000, -1, classes, run, torch.int16)
                on_device = ops.label_confusion(truth.to(cuda), answer.to(cuda), classes)
                assert torch.equal(on_device.cpu(), ops.label_confusion(truth, answer, classes))


class TestLabelPairs:
    @pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 2000])
    @pytest.mark.parametrize("run", RUNS)
    def test_equals_numpy(self, implementation, run, count):
        for seed, (low, high) in enumerate([(-2, 4), (0, 3_000_000), (-(2**31), 2**31 - 1)]):
            first, second = pair(seed, count, low, high, run, torch.int32)
            pairs, pixels = ops.label_pairs(first, second)
            together = np.stack([first.numpy(), second.numpy()], axis=1)
            distinct, number = np.unique(together, axis=0, return_counts=True)
            assert pairs.dtype == torch.int32
            assert pairs.tolist() == distinct.tolist()
            assert pixels.tolist() == number.tolist()

    @pytest.mark.parametrize("threads", [1, 4])
    def test_large_maps_are_shared_by_threads(self, native, threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            first, second = pair(4, 1_200_000, -1, 60, 20, torch.int32)
            for one, other in zip(ops.label_pairs(first, second), label_pairs_reference(first, second), strict=True):
                assert torch.equal(one, other)
        finally:
            torch.set_num_threads(before)

    def test_a_part_of_a_map(self, implementation):
        grid = torch.arange(36, dtype=torch.int32).reshape(6, 6) // 7
        pairs, pixels = ops.label_pairs(grid[::2, 1:], grid.T[::2, 1:])
        expected = label_pairs_reference(grid[::2, 1:].clone(), grid.T[::2, 1:].clone())
        assert torch.equal(pairs, expected[0])
        assert pixels.sum() == 15

    @pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(3, dtype=torch.int64), None], ids=str)
    def test_what_is_no_map_of_numbers_is_refused(self, wrong):
        with pytest.raises(InputError, match="second must be an int32 tensor"):
            ops.label_pairs(torch.zeros(3, dtype=torch.int32), wrong)
        with pytest.raises(InputError, match="of one shape"):
            ops.label_pairs(torch.zeros(3, dtype=torch.int32), torch.zeros(4, dtype=torch.int32))

    def test_opcheck(self, native):
        torch.library.opcheck(torch.ops.detkit.label_pairs.default, pair(1, 50, 0, 5, 3, torch.int32))
