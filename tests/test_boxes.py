"""Box arithmetic against brute force, and the coder against its inverse and torchvision's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from detkit.boxes import MAX_SIZE_DELTA, DeltaCoder, DistanceCoder, at_least, box_area, clip_boxes, coverage

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0)]
SEEDS = [0, 1, 2]


def _boxes(count, seed, largest=300.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 500
    size = 1 + torch.rand(count, 2, generator=generator) * largest
    return torch.cat((corner, corner + size), dim=1)


@st.composite
def boxes(draw, smallest=1.0, largest=1000.0):
    x, y = (draw(st.floats(-500, 1500, width=32)) for _ in range(2))
    width, height = (draw(st.floats(smallest, largest, width=32)) for _ in range(2))
    return torch.tensor([[x, y, x + width, y + height]], dtype=torch.float32)


class TestDeltaCoder:
    @given(boxes(smallest=8), boxes(smallest=8, largest=400), st.sampled_from(WEIGHTS))
    def test_decoding_undoes_encoding(self, reference, box, weights):
        coder = DeltaCoder(weights)
        # Within the cut, a box at most 62.5 times as large as its reference.
        decoded = coder.decode(reference, coder.encode(reference, box))
        torch.testing.assert_close(decoded, box, rtol=1e-4, atol=2e-2)

    @given(boxes(smallest=8), st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4), st.sampled_from(WEIGHTS))
    def test_encoding_undoes_decoding(self, reference, deltas, weights):
        coder = DeltaCoder(weights)
        deltas = torch.tensor([deltas])
        encoded = coder.encode(reference, coder.decode(reference, deltas))
        torch.testing.assert_close(encoded, deltas, rtol=1e-3, atol=2e-2)

    def test_a_worked_example(self):
        reference = torch.tensor([[0.0, 0.0, 10.0, 20.0]])  # center (5, 10)
        box = torch.tensor([[5.0, 0.0, 25.0, 40.0]])  # center (15, 20), twice as wide and high
        deltas = DeltaCoder((10.0, 10.0, 5.0, 5.0)).encode(reference, box)
        expected = torch.tensor([[10 * 1.0, 10 * 0.5, 5 * math.log(2), 5 * math.log(2)]])
        torch.testing.assert_close(deltas, expected)

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("weights", WEIGHTS)
    def test_equals_torchvision(self, weights, seed):
        ours, theirs = DeltaCoder(weights), BoxCoder(weights)
        references, objects = _boxes(50, seed), _boxes(50, seed + 100)
        torch.testing.assert_close(ours.encode(references, objects), theirs.encode_single(objects, references))
        deltas = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(ours.decode(references, deltas), theirs.decode_single(deltas, references))

    def test_sizes_are_cut(self):
        reference = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
        for delta in (MAX_SIZE_DELTA, 50.0, 1e30):
            decoded = DeltaCoder().decode(reference, torch.tensor([[0.0, 0.0, delta, delta]]))
            torch.testing.assert_close(decoded[:, 2:] - decoded[:, :2], torch.full((1, 2), 1000.0), rtol=1e-4, atol=0)

    def test_the_cut_is_of_the_unweighted_delta(self):
        coder = DeltaCoder((10.0, 10.0, 5.0, 5.0))
        reference = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        decoded = coder.decode(reference, torch.tensor([[0.0, 0.0, 5 * math.log(40), 5 * math.log(40)]]))
        torch.testing.assert_close(decoded[0, 2] - decoded[0, 0], torch.tensor(400.0), rtol=1e-4, atol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_computed_in_float32(self, dtype):
        coder = DeltaCoder((10.0, 10.0, 5.0, 5.0))
        references = _boxes(20, 3)
        deltas = torch.randn(20, 4, generator=torch.Generator().manual_seed(3)).to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = coder.decode(references, deltas)
            encoded = coder.encode(references, decoded)
        assert decoded.dtype == encoded.dtype == torch.float32
        assert torch.equal(decoded, coder.decode(references, deltas.float()))
        half, objects = references.to(dtype), _boxes(20, 4).to(dtype)
        assert torch.equal(coder.encode(half, objects), coder.encode(half.float(), objects.float()))
        assert torch.equal(coder.decode(half, deltas), coder.decode(half.float(), deltas.float()))

    def test_shapes_broadcast_and_may_be_empty(self):
        coder = DeltaCoder()
        references = _boxes(6, 0)
        deltas = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
        decoded = coder.decode(references[:, None], deltas)
        assert torch.equal(decoded[:, 3], coder.decode(references, deltas[:, 3]))
        assert coder.decode(references[:0, None], deltas[:0]).shape == (0, 5, 4)
        assert coder.encode(references[:0], references[:0]).shape == (0, 4)

    def test_decoding_passes_gradient_to_the_deltas(self):
        deltas = torch.zeros(1, 4, requires_grad=True)
        DeltaCoder((10.0, 10.0, 5.0, 5.0)).decode(torch.tensor([[0.0, 0.0, 30.0, 60.0]]), deltas)[0, 2].backward()
        # x2 = center + width / 2: 30 / 10 of it from dx, 15 / 5 from dw.
        torch.testing.assert_close(deltas.grad, torch.tensor([[3.0, 0.0, 3.0, 0.0]]))


class TestCoverage:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_counted_pixels(self, seed):
        generator = torch.Generator().manual_seed(seed)
        corners = torch.randint(0, 24, (2, 12, 2, 2), generator=generator).sort(dim=2).values
        corners[:, :, 1] += 1
        boxes_, regions = corners.flatten(2).float()
        result = coverage(boxes_, regions)
        for box, row in zip(boxes_.int().tolist(), result, strict=True):
            for region, share in zip(regions.int().tolist(), row, strict=True):
                inside = _pixels(box) & _pixels(region)
                assert share == pytest.approx(len(inside) / len(_pixels(box)))

    def test_is_of_the_box_not_of_the_region(self):
        small, large = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 20.0, 20.0]])
        assert coverage(small, large) == 1
        assert coverage(large, small) == pytest.approx(0.01)

    @given(boxes(), boxes())
    def test_lies_between_none_and_all(self, box, region):
        share = float(coverage(box, region))
        assert 0 <= share <= 1 + 1e-5
        assert coverage(box, torch.cat((box, region)))[0, 0] == pytest.approx(1)

    def test_of_boxes_without_area_is_none(self):
        line = torch.tensor([[3.0, 3.0, 3.0, 9.0], [4.0, 4.0, 4.0, 4.0]])
        assert torch.equal(coverage(line, torch.tensor([[0.0, 0.0, 20.0, 20.0]])), torch.zeros(2, 1))

    def test_may_be_empty(self):
        assert coverage(_boxes(3, 0), torch.zeros(0, 4)).shape == (3, 0)
        assert coverage(torch.zeros(0, 4), _boxes(3, 0)).shape == (0, 3)


def _pixels(box):
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@given(boxes(), st.integers(1, 1000), st.integers(1, 1000))
def test_clipped_boxes_lie_in_the_image_and_those_inside_stay(box, height, width):
    clipped = clip_boxes(box, (height, width))[0].tolist()
    for before, after, limit in zip(box[0].tolist(), clipped, (width, height, width, height), strict=True):
        assert after == min(max(before, 0), limit)


def test_clipping_takes_any_leading_shape():
    many = _boxes(12, 5).view(3, 4, 4)
    assert torch.equal(clip_boxes(many, (100, 200))[1], clip_boxes(many[1], (100, 200)))
    assert clip_boxes(torch.zeros(0, 4), (5, 5)).shape == (0, 4)


def test_area_and_least_size():
    measured = torch.tensor([[0.0, 0.0, 4.0, 2.0], [1.0, 1.0, 1.0, 9.0], [5.0, 5.0, 8.0, 8.0]])
    assert box_area(measured).tolist() == [8, 0, 9]
    assert at_least(measured, 2).tolist() == [True, False, True]
    assert at_least(measured, 3).tolist() == [False, False, True]
    assert at_least(measured[:0], 3).shape == (0,)
    for coordinate in range(4):
        broken = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
        broken[0, coordinate] = torch.nan
        assert not at_least(broken, 0)


class TestDistanceCoder:
    def test_distances_are_left_top_right_bottom(self):
        distances = DistanceCoder().encode(torch.tensor([[10.0, 20.0]]), torch.tensor([[7.0, 15.0, 30.0, 21.0]]))
        assert distances.tolist() == [[3, 5, 20, 1]]

    @pytest.mark.parametrize("seed", SEEDS)
    def test_decoding_undoes_encoding(self, seed):
        boxes = _boxes(50, seed)
        locations = 500 * torch.rand(50, 2, generator=torch.Generator().manual_seed(seed))
        coder = DistanceCoder()
        torch.testing.assert_close(coder.decode(locations, coder.encode(locations, boxes)), boxes)

    def test_is_float32_for_half_precision(self):
        decoded = DistanceCoder().decode(torch.tensor([[801.0, 3.0]]), torch.full((1, 4), 0.5, dtype=torch.bfloat16))
        assert decoded.tolist() == [[800.5, 2.5, 801.5, 3.5]]
