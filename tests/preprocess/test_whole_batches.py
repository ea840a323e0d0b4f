"""Images and targets of a batch, taken all at once, against one by one."""

import pytest
import torch
from operation_counter import OperationCounter

from detkit.geometry import Placement
from detkit.ops import RunLengths, masks_to_rle, rle_to_masks
from detkit.preprocess import (
    CenterCrop,
    Letterbox,
    OriginalSize,
    Preprocess,
    ShortestEdge,
    SmoothShortestEdge,
    Square,
    Stretch,
    takes_batches,
)
from detkit.structures import Meshes, PointClouds, Target


class Halves(Preprocess):
    """A user's own: the left half of each image, which takes one image at a time."""

    def place(self, size):
        return Placement.part(
            size, (0, 0, size[1] // 2, size[0]), (0, 0, size[1] // 2, size[0]), (size[0], size[1] // 2)
        )

    def pixels(self, image, placement):
        assert image.ndim == 3
        return self._normalized(image)[:, :, : placement.size[1]]


class Brighter(ShortestEdge):
    """A user's change of a class that takes whole batches: it gets one image at a time."""

    def pixels(self, image, placement):
        assert image.ndim == 3
        return super().pixels(image * 1.5, placement)


class Mirrored(Square):
    """A placement that mirrors."""

    def place(self, size):
        return super().place(size).then(Placement.mirror((self.size, self.size), True, False))

    @takes_batches
    def pixels(self, image, placement):
        return super().pixels(image, placement).flip(-1)


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
SIBLINGS = [
    ShortestEdge(24, 40),
    SmoothShortestEdge(16, 40, divisor=8),
    Square(20),
    Letterbox((24, 32), MEAN, STD),
    Stretch((24, 32), MEAN, STD),
    CenterCrop((16, 16), 20),
    OriginalSize(),
    Halves(MEAN, STD),
    Brighter(24, 40),
    Mirrored(20),
]
EACH = pytest.mark.parametrize("preprocess", SIBLINGS, ids=lambda one: type(one).__name__)
SIZES = [(20, 30), (30, 20), (20, 30), (18, 26), (30, 20), (20, 30)]


def _images(sizes, seed=0, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    return images if dtype == torch.uint8 else [image / 255 for image in images]


def _targets(sizes, seed=0, crowds=True):
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for index, (height, width) in enumerate(sizes):
        count = int(torch.randint(0, 5, (1,), generator=generator))
        corners = torch.rand(count, 2, generator=generator) * 9
        boxes = torch.cat((corners, corners + 1 + torch.rand(count, 2, generator=generator) * 9), 1)
        masks = torch.rand(count, height, width, generator=generator) > 0.5
        targets.append(
            Target(
                boxes,
                torch.randint(0, 9, (count,), generator=generator),
                masks=masks_to_rle(masks) if index % 2 else masks,
                keypoints=torch.rand(count, 3, 3, generator=generator) * 20 if index != 2 else None,
                iscrowd=torch.rand(count, generator=generator) < 0.4 if crowds and index != 1 else None,
                area=torch.rand(count, generator=generator),
                image_id=index,
                label_map=torch.zeros(height, width, dtype=torch.uint8),
                camera=torch.rand(3, 3, generator=generator),
                proposals=torch.rand(index, 4, generator=generator) * 20,
                meshes=_meshes(count, generator),
                voxels=PointClouds([torch.rand(row, 3, generator=generator) for row in range(count)]),
            )
        )
    return [*targets[:-1], Target(image_id="not annotated")]


def _meshes(count, generator):
    vertices = [torch.rand(3 + row, 3, generator=generator) for row in range(count)]
    return Meshes(vertices, [torch.randint(0, 3, (row, 3), generator=generator) for row in range(count)])


def _assert_equal(one, other):
    assert type(one) is type(other)
    for name in type(one).kinds():
        value, expected = getattr(one, name), getattr(other, name)
        if isinstance(expected, torch.Tensor):
            assert value.dtype == expected.dtype, name
            assert torch.equal(value, expected), name
        elif isinstance(expected, RunLengths):
            assert torch.equal(rle_to_masks(value), rle_to_masks(expected))
        elif isinstance(expected, Meshes):
            assert torch.equal(value.vertices, expected.vertices)
            assert torch.equal(value.faces, expected.faces)
            assert torch.equal(value.topology.vertex_counts, expected.topology.vertex_counts)
            assert torch.equal(value.topology.face_counts, expected.topology.face_counts)
        elif isinstance(expected, PointClouds):
            assert torch.equal(value.points, expected.points)
            assert torch.equal(value.counts, expected.counts)
        else:
            assert value is expected or value == expected, name


@EACH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_of_a_batch_equal_single_ones(preprocess, dtype):
    images = _images(SIZES, dtype=dtype)
    batch = preprocess(images)
    for row, image in enumerate(images):
        alone = preprocess([image])
        height, width = alone.padded_size
        assert batch.placements[row] == alone.placements[0]
        part = batch.images[row, :, :height, :width]
        assert torch.equal(
            part[:, : batch.sizes[row][0], : batch.sizes[row][1]],
            alone.images[0][:, : batch.sizes[row][0], : batch.sizes[row][1]],
        )
    for (height, width), image in zip(batch.sizes, batch.images, strict=True):
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()


@EACH
def test_gradients_reach_every_image(preprocess):
    images = [image.requires_grad_() for image in _images(SIZES, dtype=torch.float32)]
    preprocess(images).images.square().sum().backward()
    for image in images:
        (expected,) = torch.autograd.grad(preprocess([image]).images.square().sum(), image)
        torch.testing.assert_close(image.grad, expected)


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_targets_of_a_batch_equal_single_ones(preprocess, seed):
    targets, batch = _targets(SIZES, seed), preprocess(_images(SIZES))
    moved = preprocess.targets(targets, batch)
    for one, target, placement in zip(moved, targets, batch.placements, strict=True):
        expected = target.moved_to_network(placement).to("cpu")
        _assert_equal(one, expected)
        _assert_equal(one.objects(), expected.objects())
        assert torch.equal(one.ignored_boxes(), expected.ignored_boxes())
        assert one.crowd_rows == expected.crowd_rows


@pytest.mark.parametrize("preprocess", SIBLINGS[:7], ids=lambda one: type(one).__name__)
def test_operations_do_not_grow_with_the_images(preprocess):
    """Crowds are left out, which are selected before a target moves."""
    counts = []
    for images in (4, 8):
        sizes = [(20, 30)] * images
        given, targets = _images(sizes), _targets(sizes, crowds=False)
        with OperationCounter() as counter:
            batch = preprocess(given)
            preprocess.targets(targets, batch)
        counts.append(counter.by_name)
    assert counts[0] == counts[1]


def test_a_few_sizes_cost_a_few_operations_each():
    counts = []
    for sizes in (SIZES * 2, SIZES * 3):
        images = _images(sizes)
        with OperationCounter() as counter:
            ShortestEdge(24, 40)(images)
        counts.append(counter.operations)
    assert counts[0] == counts[1] < 10 * len(set(SIZES))


def test_images_that_lie_one_after_the_other_are_not_copied_together():
    together = torch.stack(_images([(20, 30)] * 4))
    with OperationCounter() as counter:
        batch = ShortestEdge(24, 40)(list(together))
    assert counter.by_name["aten.stack.default"] == counter.by_name["aten.cat.default"] == 0
    assert torch.equal(batch.images, ShortestEdge(24, 40)([image.clone() for image in together]).images)
    backwards = ShortestEdge(24, 40)(list(together.flip(0)))
    assert torch.equal(ShortestEdge(24, 40)(list(together)[::-1]).images, backwards.images)
