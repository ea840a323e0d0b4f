from dataclasses import replace

import pytest
import torch
from contexts import context_of, placed
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.heads import KeypointHead, Regions
from detkit.heads.region.heat_maps import heat_map_peaks
from detkit.heads.region.keypoint import keypoint_cells
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, SmoothShortestEdge, Square, Stretch
from detkit.structures import Detections, Target

SEEDS = [0, 1, 2]


def _boxes(generator, count, size=90.0):
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * size
    return corners.flatten(1) + torch.tensor([0.0, 0.0, 2.0, 2.0])


def _keypoints(generator, boxes, count):
    """Some inside of their box, some outside, some on its right or lower edge, of each visibility."""
    places = torch.rand(len(boxes), count, 2, generator=generator) * 1.4 - 0.2
    points = boxes[:, None, :2] + places * (boxes[:, 2:] - boxes[:, :2])[:, None]
    on_edge = torch.rand(points.shape, generator=generator) < 0.2
    points = torch.where(on_edge, boxes[:, None, 2:].expand_as(points), points)
    return torch.cat((points, torch.randint(0, 3, (*points.shape[:2], 1), generator=generator).float()), dim=2)


def _loss(head, raw, boxes, objects, target, size=(99, 99)):
    """The loss of the regions `boxes` of an image, which stand for these of its objects."""
    objects = torch.as_tensor(objects, dtype=torch.int64)
    regions = replace(Regions.of_images([boxes]), labels=torch.zeros_like(objects), matched=objects)
    return head.losses(raw, regions, {}, context_of([size], [target]))["keypoint"]


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_are_torchvisions(seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = _boxes(generator, 30)
    keypoints = _keypoints(generator, boxes, 7)
    expected, valid = keypoints_to_heatmap(keypoints.clone(), boxes, 56)
    cells, labeled = keypoint_cells(keypoints, boxes, 56)
    assert torch.equal(labeled, valid.bool())
    assert torch.equal(cells[labeled], expected[labeled])
    assert 0.1 < labeled.float().mean() < 0.9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pixels_at_once", [1, 20_000, 2**24])
def test_peaks_are_torchvisions(seed, pixels_at_once, monkeypatch):
    monkeypatch.setattr("detkit.heads.region.heat_maps._PIXELS_AT_ONCE", pixels_at_once)
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.cat((_boxes(generator, 12), torch.tensor([[3.0, 4.0, 3.2, 9.0], [5.0, 5.0, 205.5, 6.0]])))
    heat_maps = torch.randn(len(boxes), 5, 56, 56, generator=generator)
    expected, scores = heatmaps_to_keypoints(heat_maps, boxes)
    peaks = heat_map_peaks(heat_maps, boxes)
    torch.testing.assert_close(peaks[..., :2] + boxes[:, None, :2], expected[..., :2], atol=1e-4, rtol=0)
    torch.testing.assert_close(peaks[..., 2], scores, atol=1e-4, rtol=0)


def test_decode_places_the_peak_in_the_image_as_it_was_given():
    head = KeypointHead(4, 1, num_keypoints=2, channels=4, convolutions=1)
    regions = torch.tensor([[10.0, 20.0, 66.0, 76.0]])
    raw = torch.zeros(1, 2, 56, 56)
    raw[0, 0, 0, 0], raw[0, 1, 30, 40] = 5.0, 7.0
    detections = Detections(regions * 2, torch.ones(1), torch.tensor([0]))
    placements = [Placement.resize((200, 200), (100, 100)), Placement.identity((9, 9))]
    in_input = Regions.of_images([regions, regions[:0]])
    decoded, none = head.decode(raw, in_input, {}, [detections, Detections.empty()], placed(placements))
    assert decoded.keypoints[0].tolist() == [[21.0, 41.0, 5.0], [101.0, 101.0, 7.0]]
    assert none.keypoints.shape == (0, 2, 3)


def test_another_number_of_keypoints_is_named():
    generator = torch.Generator().manual_seed(7)
    head = KeypointHead(4, 1, num_keypoints=3, channels=4, convolutions=1)
    boxes = _boxes(generator, 1)
    target = Target(boxes, torch.tensor([0]), keypoints=_keypoints(generator, boxes, 2), image_id=12)
    with pytest.raises(InputError, match=r"image id 12.* 2 keypoints.* 3"):
        _loss(head, head.answer(torch.zeros(1, 4, 14, 14)), boxes, [0], target)
    with pytest.raises(InputError, match="num_keypoints"):
        KeypointHead(4, 1, num_keypoints=0)


def test_without_labeled_keypoints_the_loss_is_zero_and_attached():
    generator = torch.Generator().manual_seed(8)
    head = KeypointHead(4, 1, num_keypoints=3, channels=4, convolutions=1)
    boxes = _boxes(generator, 2)
    unlabeled = Target(boxes, torch.zeros(2, dtype=torch.int64), keypoints=torch.zeros(2, 3, 3))
    without = Target(boxes, unlabeled.labels)
    for target, regions in ((unlabeled, [0, 1]), (without, [1, 0]), (Target.empty(), [])):
        raw = head.answer(torch.randn(len(regions), 4, 14, 14))
        loss = _loss(head, raw, boxes[: len(regions)], regions, target)
        head.zero_grad()
        loss.backward()
        assert loss == 0
        assert all(parameter.grad is not None for parameter in head.parameters())


PREPROCESSES = [
    OriginalSize(),
    ShortestEdge(100, 300),
    SmoothShortestEdge(100, 300),
    Square(128),
    Stretch((64, 128)),
    Letterbox((128, 128)),
    CenterCrop((96, 96), 120),
]


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=lambda preprocess: type(preprocess).__name__)
def test_under_every_preprocess_a_keypoint_is_learned_and_found_where_it_is(preprocess):
    box, point = torch.tensor([[32.0, 20.0, 48.0, 36.0]]), [37.1, 30.2]
    given = Target(box, torch.tensor([0]), keypoints=torch.tensor([[[*point, 2.0]]]))
    batch = preprocess([torch.zeros(3, 60, 80)])
    (target,) = preprocess.targets([given], batch)
    head = KeypointHead(1, 1, num_keypoints=1, channels=1, convolutions=0, resolution=4)
    raw = torch.zeros(1, 1, 16, 16, requires_grad=True)
    regions = replace(Regions.of_images([target.boxes]), labels=target.labels, matched=torch.tensor([0]))
    head.losses(raw, regions, {}, placed(batch.placements, [target]))["keypoint"].backward()
    assert (raw.grad[0, 0] < 0).nonzero().tolist() == [[10, 5]]  # cells of one pixel of the given image

    detections = Detections(box, torch.ones(1), torch.tensor([0]))
    (decoded,) = head.decode(-99 * raw.grad, regions, {}, [detections], placed(batch.placements))
    torch.testing.assert_close(decoded.keypoints[0, 0, :2], torch.tensor([37.5, 30.5]), atol=0.5, rtol=0)
