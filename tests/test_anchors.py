"""Anchors against a hand-written example and torchvision's."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchors
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from detkit.anchors import AnchorGenerator, DefaultBoxes, default_scales, kmeans_anchors, shape_iou
from detkit.errors import InputError


def test_a_hand_written_example():
    generator = AnchorGenerator(sizes=[[4, 8]], aspect_ratios=[1.0, 4.0])
    (anchors,) = generator([(2, 2)], (16, 32))
    # Ratio 1: 4 x 4 and 8 x 8; ratio 4: 2 wide and 8 high, 4 wide and 16 high. Steps of 16 to the right, 8 down.
    at_origin = [[-2, -2, 2, 2], [-4, -4, 4, 4], [-1, -4, 1, 4], [-2, -8, 2, 8]]
    expected = [
        [x1 + x, y1 + y, x2 + x, y2 + y] for y, x in [(0, 0), (0, 16), (8, 0), (8, 16)] for x1, y1, x2, y2 in at_origin
    ]
    assert anchors.tolist() == expected
    assert generator.per_location == [4]


@pytest.mark.parametrize(
    ("padded_size", "grids"),
    [
        ((800, 1344), [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]),  # P6 rounded up on both sides
        ((96, 160), [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)]),
        ((32, 32), [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]),
        ((256, 512), [(63, 127), (31, 63), (15, 31), (7, 15), (4, 8)]),  # a trunk without padding
    ],
)
@pytest.mark.parametrize("ratios", [(0.5, 1.0, 2.0), (0.3, 1.7)])
def test_equals_torchvision(padded_size, grids, ratios):
    sizes = [[32], [64], [128], [256], [512]]
    ours = AnchorGenerator(sizes, ratios)
    theirs = TorchvisionAnchors(tuple(tuple(size) for size in sizes), (ratios,) * len(sizes))
    features = [torch.zeros(1, 1, *grid) for grid in grids]
    images = ImageList(torch.zeros(1, 3, *padded_size), [padded_size])
    assert torch.equal(torch.cat(ours(grids, padded_size)), theirs(images, features)[0])


def test_several_sizes_at_a_location_equal_torchvision():
    sizes = [[32, 40.3, 50.8], [64, 80.6, 101.6]]
    grids, padded_size = [(4, 6), (2, 3)], (32, 48)
    ours = AnchorGenerator(sizes)
    theirs = TorchvisionAnchors(tuple(tuple(size) for size in sizes), ((0.5, 1.0, 2.0),) * 2)
    images = ImageList(torch.zeros(1, 3, *padded_size), [padded_size])
    expected = theirs(images, [torch.zeros(1, 1, *grid) for grid in grids])[0]
    assert torch.equal(torch.cat(ours(grids, padded_size)), expected)
    assert ours.per_location == theirs.num_anchors_per_location()


def test_with_strides_nothing_is_rounded():
    (anchors,) = AnchorGenerator([[32]], [0.5, 2.0], strides=[64])([(2, 2)], (100, 100))
    side, half = 16 * 2**0.5, 8 * 2**0.5
    at_origin = torch.tensor([[-side, -half, side, half], [-half, -side, half, side]])
    shifts = [torch.tensor([x, y, x, y]) for y in (0.0, 64.0) for x in (0.0, 64.0)]
    torch.testing.assert_close(anchors, torch.cat([at_origin + shift for shift in shifts]))


def test_sizes_and_shapes_are_what_they_are_called():
    (anchors,) = AnchorGenerator([[100]], [0.25, 1.0, 4.0])([(1, 1)], (8, 8))
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    torch.testing.assert_close(height / width, torch.tensor([0.25, 1.0, 4.0]))
    torch.testing.assert_close(width * height, torch.full((3,), 100.0**2))


def test_an_image_of_one_pixel_has_the_anchors_of_one_cell():
    (anchors,) = AnchorGenerator([[8]])([(1, 1)], (1, 1))
    assert anchors.shape == (3, 4)
    assert torch.equal(anchors[:, :2], -anchors[:, 2:])


def test_move_with_their_module_and_stay_out_of_its_state():
    generator = AnchorGenerator([[8], [16]])
    assert not generator.state_dict()
    assert generator.to("meta")([(2, 2), (1, 1)], (16, 16))[1].device.type == "meta"


class TestKMeans:
    @staticmethod
    def _sizes(seed, count):
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(count, 2, generator=generator) * 100 + 5

    @pytest.mark.parametrize("seed", [0, 1, 2])
    @pytest.mark.parametrize("count", [1, 3, 5])
    def test_ends_where_the_definition_does_not_move(self, seed, count):
        """Of each box the most alike anchor by a loop; each anchor is the mean of its boxes."""
        sizes = self._sizes(seed, 80)
        anchors = kmeans_anchors(sizes, count, seed)
        clusters = [[] for _ in range(count)]
        for w, h in sizes.double().tolist():
            overlaps = []
            for a, b in anchors.double().tolist():
                intersection = min(w, a) * min(h, b)
                overlaps.append(intersection / (w * h + a * b - intersection))
            clusters[overlaps.index(max(overlaps))].append((w, h))
        means = torch.tensor(
            [[sum(side) / len(cluster) for side in zip(*cluster, strict=True)] for cluster in clusters]
        )
        torch.testing.assert_close(anchors, means)
        assert (anchors.prod(dim=1).diff() > 0).all()

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_finds_the_best_of_all_partitions_that_stay(self, seed):
        """Of the partitions of seven boxes into two, those stay whose boxes are most like their own cluster's mean."""
        sizes, stable = self._sizes(seed, 7).double(), {}
        for partition in range(1, 2**6):
            members = torch.tensor([bool(partition >> index & 1) for index in range(7)])
            means = torch.stack((sizes[members].mean(dim=0), sizes[~members].mean(dim=0)))
            overlaps = shape_iou(sizes, means)
            if torch.equal(overlaps[:, 0] > overlaps[:, 1], members):
                stable[partition] = overlaps.amax(dim=1).mean().item()
        result = [shape_iou(sizes, kmeans_anchors(sizes, 2, start)).amax(dim=1).mean().item() for start in range(20)]
        assert max(result) == pytest.approx(max(stable.values()))
        assert all(min(abs(quality - other) for other in stable.values()) < 1e-6 for quality in result)

    def test_as_many_anchors_as_sizes_are_the_sizes(self):
        sizes = self._sizes(0, 6)
        expected = sizes[sizes.prod(dim=1).argsort()]
        torch.testing.assert_close(kmeans_anchors(sizes.repeat(3, 1), 6), expected)

    def test_more_anchors_than_sizes_are_refused(self):
        with pytest.raises(InputError, match="3 anchors need as many boxes of different sizes, got 2"):
            kmeans_anchors(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]), 3)


# ---- SSD's default boxes ----

SSD300_GRIDS = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
SSD512_GRIDS = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]


def test_default_boxes_are_as_many_as_the_papers():
    boxes = DefaultBoxes(default_scales(6, finest=0.1), RATIOS, relative=True)
    assert len(torch.cat(boxes(SSD300_GRIDS, (300, 300)))) == 8732
    boxes = DefaultBoxes(default_scales(7, 0.15, 0.9, 0.07), [[2], *[[2, 3]] * 4, [2], [2]], relative=True)
    assert len(torch.cat(boxes(SSD512_GRIDS, (512, 512)))) == 24564
    assert boxes.per_location == [4, 6, 6, 6, 6, 4, 4]


def test_default_boxes_of_a_cell_by_hand():
    # Of equation 4: fc7's scale is 0.2 and the next one's 0.375, in an image of 300 pixels.
    boxes = DefaultBoxes(default_scales(6, finest=0.1), RATIOS, relative=True)(SSD300_GRIDS, (300, 300))[1]
    x, y = 300 * 2.5 / 19, 300 * 0.5 / 19  # the cell in the first row and third column
    sides = [(60, 60), (82.1584, 82.1584), (84.8528, 42.4264), (42.4264, 84.8528), (103.923, 34.641), (34.641, 103.923)]
    expected = torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for w, h in sides])
    torch.testing.assert_close(boxes[2 * 6 : 3 * 6], expected, atol=1e-3, rtol=0)


def test_default_scales_are_equation_4():
    assert default_scales(6) == pytest.approx([0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04])
    assert default_scales(6, finest=0.1) == pytest.approx([0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075])
    # The authors' sizes of SSD512 on VOC.
    sizes = [512 * scale for scale in default_scales(7, 0.15, 0.9, 0.07)]
    assert sizes == pytest.approx([35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6])


@pytest.mark.parametrize("steps", [None, [8, 16, 32, 64, 100, 300]])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("size", [(300, 300), (240, 360)])
def test_default_boxes_equal_torchvisions(steps, clip, size):
    scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    theirs = DefaultBoxGenerator(RATIOS, scales=scales, steps=steps, clip=clip)
    features = [torch.zeros(1, 1, *grid) for grid in SSD300_GRIDS]
    expected = theirs(ImageList(torch.zeros(1, 3, *size), [size]), features)[0]
    result = torch.cat(DefaultBoxes(scales, RATIOS, steps, relative=True, clip=clip)(SSD300_GRIDS, size))
    assert torch.equal(result, expected)
    if size[0] == size[1]:
        in_pixels = DefaultBoxes([300 * scale for scale in scales], RATIOS, steps, clip=clip)
        torch.testing.assert_close(torch.cat(in_pixels(SSD300_GRIDS, size)), expected, atol=1e-3, rtol=0)


def test_default_boxes_in_pixels_do_not_depend_on_the_image():
    boxes = DefaultBoxes([20, 30], [[2]], steps=[16])
    small, large = boxes([(2, 2)], (32, 32))[0], boxes([(3, 4)], (48, 64))[0]
    torch.testing.assert_close(small[:4], large[:4])
    torch.testing.assert_close(small[0], torch.tensor([-2.0, -2.0, 18.0, 18.0]))


@pytest.mark.parametrize(("sizes", "steps"), [([20], None), ([20, 30, 40], None), ([20, 30], [8, 16])])
def test_default_boxes_of_unequal_levels_are_refused(sizes, steps):
    with pytest.raises(InputError, match=r"aspect ratios \[\[2\]\], need a size for each and one more"):
        DefaultBoxes(sizes, [[2]], steps)
