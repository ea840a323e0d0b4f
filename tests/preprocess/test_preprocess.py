"""Resizing, normalizing, padding and back, against torchvision's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detkit.preprocess import Batch, CenterCrop, Letterbox, OriginalSize, ShortestEdge, Square
from detkit.structures import Detections, Target

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def _torchvision(min_size, max_size):
    return GeneralizedRCNNTransform(min_size, max_size, MEAN, STD).eval()


def _images(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def _resized_to(image, size, align_corners, scale_factors):
    """Stands for the kernel behind `interpolate`, which has computed the size before."""
    assert scale_factors is None
    if min(size) < 1:
        raise RuntimeError("Input and output sizes should be greater than 0")
    return image.new_empty((*image.shape[:2], *size))


@pytest.mark.parametrize(("min_size", "max_size"), [(800, 1333), (640, 640), (96, 160), (333, 1000)])
def test_sizes_equal_torchvision(monkeypatch, min_size, max_size):
    """Without pixels, so that many and large images cost nothing."""
    monkeypatch.setattr(torch._C._nn, "upsample_bilinear2d", _resized_to)
    generator = torch.Generator().manual_seed(min_size)
    sizes = torch.randint(1, 3000, (300, 2), generator=generator).tolist()
    sizes += [[480, 640], [427, 640], [1, 1], [1, 4000], [800, 1333], [1333, 800], [12000, 200], [min_size, max_size]]
    theirs, ours = _torchvision(min_size, max_size), ShortestEdge(min_size, max_size).to("meta")
    for height, width in sizes:
        image = torch.empty(3, height, width, device="meta")
        try:
            expected = theirs.resize(image)[0].shape[1:]
        except (RuntimeError, ZeroDivisionError):  # torchvision would make images of no pixels
            assert max(height, width) / min(height, width) > max_size
            continue
        assert ours([image]).sizes == [tuple(expected)], (height, width)


@pytest.mark.parametrize("seed", [0, 1])
def test_pixels_equal_torchvision(seed):
    images = _images(seed, [(70, 90), (120, 64), (96, 96), (33, 200)])
    expected, _ = _torchvision(96, 160)(images)
    batch = ShortestEdge(96, 160)(images)
    torch.testing.assert_close(batch.images, expected.tensors)
    assert batch.sizes == expected.image_sizes
    assert batch.given_sizes == [(70, 90), (120, 64), (96, 96), (33, 200)]
    assert batch.padded_size == tuple(expected.tensors.shape[-2:])


@pytest.mark.parametrize("seed", [0, 1])
def test_boxes_equal_torchvision_on_both_ways(seed):
    images = _images(seed, [(70, 90), (33, 200)])
    generator = torch.Generator().manual_seed(seed)
    boxes = [torch.rand(5, 4, generator=generator) * 60, torch.rand(0, 4)]
    targets = [Target(box, torch.zeros(len(box), dtype=torch.int64)) for box in boxes]
    theirs, ours = _torchvision(96, 160), ShortestEdge(96, 160)
    image_list, expected = theirs(images, [{"boxes": box} for box in boxes])
    batch = ours(images)
    for target, wanted in zip(ours.targets(targets, batch), expected, strict=True):
        torch.testing.assert_close(target.boxes, wanted["boxes"])
    result = [Detections(box, torch.ones(len(box)), torch.zeros(len(box), dtype=torch.int64)) for box in boxes]
    restored = theirs.postprocess([{"boxes": box} for box in boxes], image_list.image_sizes, batch.given_sizes)
    for detections, wanted in zip(ours.restore(result, batch), restored, strict=True):
        torch.testing.assert_close(detections.boxes, wanted["boxes"])


@given(st.tuples(st.integers(1, 200), st.integers(1, 200)), st.integers(1, 64), st.integers(64, 100))
def test_restoring_undoes_resizing(size, min_size, max_size):
    preprocess = ShortestEdge(min_size, max_size)
    batch = preprocess([torch.zeros(3, *size)])
    box = torch.tensor([[0.0, 0.0, size[1], size[0]], [0.25 * size[1], 0.5 * size[0], size[1], 0.75 * size[0]]])
    (target,) = preprocess.targets([Target(box, torch.zeros(2, dtype=torch.int64))], batch)
    torch.testing.assert_close(target.boxes[0, 2:].flip(0), torch.tensor(batch.sizes[0]).float())
    detections = Detections(target.boxes, torch.ones(2), torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(preprocess.restore([detections], batch)[0].boxes, box, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize(
    "preprocess",
    [ShortestEdge(50, 90), Letterbox((64, 96)), CenterCrop((40, 40), 50), OriginalSize(), Square(64)],
    ids=lambda preprocess: type(preprocess).__name__,
)
def test_a_batch_is_restored_as_each_image_alone(preprocess, cut):
    generator = torch.Generator().manual_seed(0)
    images = _images(0, [(70, 90), (64, 96), (33, 80), (50, 50)])
    batch, detections = preprocess(images), []
    for count in (6, 0, 3, 40):
        corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * 110 - 5
        labels = torch.arange(count)
        detections.append(Detections(corners.flatten(1), torch.rand(count, generator=generator), labels))
    for index, restored in enumerate(batch.restore(detections, cut)):
        (alone,) = Batch(batch.images[:1], batch.placements[index : index + 1]).restore(
            detections[index : index + 1], cut
        )
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(getattr(restored, name), getattr(alone, name))


def test_padding_is_black_after_normalizing_and_a_multiple():
    preprocess = ShortestEdge(50, 100, divisor=16)
    batch = preprocess([torch.ones(3, 50, 70), torch.ones(3, 60, 50)])
    assert batch.padded_size == (64, 80)
    for image, (height, width) in zip(batch.images, batch.sizes, strict=True):
        assert (image[:, :height, :width] != 0).all()
        assert image[:, height:].abs().sum() == image[:, :, width:].abs().sum() == 0


def test_bytes_equal_fractions():
    pixels = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocess = ShortestEdge(64, 96)
    assert torch.equal(preprocess([pixels]).images, preprocess([pixels.float() / 255]).images)
    double = preprocess([pixels.double() / 255]).images
    assert double.dtype == torch.float32
    torch.testing.assert_close(double, preprocess([pixels]).images)


def test_normalizing_makes_mean_and_deviation_zero_and_one():
    flat = torch.tensor(MEAN)[:, None, None].expand(3, 32, 32)
    batch = ShortestEdge(32, 32)([flat, flat + torch.tensor(STD)[:, None, None]])
    torch.testing.assert_close(batch.images[0], torch.zeros(3, 32, 32), atol=1e-6, rtol=0)
    torch.testing.assert_close(batch.images[1], torch.ones(3, 32, 32), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), (64, 64)), ((12000, 200), (96, 1)), ((1, 6144), (1, 96)), ((3000, 3000), (64, 64))]
)
def test_extreme_sizes(size, expected):
    batch = ShortestEdge(64, 96)([torch.zeros(3, *size, dtype=torch.uint8)])
    assert batch.sizes == [expected]
    assert batch.images.isfinite().all()


def test_keypoints_are_scaled_and_their_visibility_is_not():
    keypoints = torch.tensor([[[10.0, 20.0, 2.0], [0.0, 0.0, 0.0]]])
    target = Target(torch.tensor([[0.0, 0.0, 30.0, 30.0]]), torch.tensor([0]), keypoints=keypoints, image_id=7)
    preprocess = ShortestEdge(100, 300)
    (scaled,) = preprocess.targets([target], preprocess([torch.zeros(3, 50, 120)]))
    torch.testing.assert_close(scaled.keypoints, torch.tensor([[[20.0, 40.0, 2.0], [0.0, 0.0, 0.0]]]))
    assert scaled.image_id == 7


def test_constants_stay_out_of_the_state():
    assert not ShortestEdge().state_dict()
