from dataclasses import replace

import pytest
import torch
import torchvision
from contexts import context_of, placed

from detkit.geometry import Placement
from detkit.heads import MaskHead, Regions
from detkit.heads.region.mask_targets import crop_batch_masks, crop_masks
from detkit.ops import masks_to_rle, rle_to_masks
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, SmoothShortestEdge, Square, Stretch
from detkit.structures import Detections, Target

SIZE = (60, 80)  # of the image as it was given, and of its masks
SEEDS = [0, 1, 2]


def _random_boxes(generator, count, size=SIZE):
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values
    return corners.flatten(1) * torch.tensor([size[1], size[0]]).repeat(2) + torch.tensor([0.0, 0.0, 3.0, 3.0])


def _target(generator, count, **fields):
    masks = torch.rand(count, *SIZE, generator=generator) < torch.rand(count, 1, 1, generator=generator)
    return Target(_random_boxes(generator, count), torch.zeros(count, dtype=torch.int64), masks=masks, **fields)


def _regions(boxes, matched, labels=None):
    """The foreground regions `boxes` of each image, which stand for these objects of the batch."""
    matched = torch.as_tensor(matched, dtype=torch.int64)
    labels = torch.zeros_like(matched) if labels is None else torch.tensor(labels)
    return replace(Regions.of_images(boxes), labels=labels, matched=matched)


def _crops(target, boxes, objects, resolution, placement=None):
    objects = torch.as_tensor(objects, dtype=torch.int64)
    return crop_masks(target, boxes, objects, placement or Placement.identity(SIZE), resolution)


def _loss(head, raw, regions, targets):
    return head.losses(raw, regions, {}, context_of([SIZE] * len(targets), targets))["mask"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_crops_are_roi_align_of_the_mask_halved(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    target = _target(generator, 5)
    objects = torch.randint(0, 5, (12,), generator=generator)
    boxes = _random_boxes(generator, 12)
    size = (int(SIZE[0] * scale), int(SIZE[1] * scale))
    crops = _crops(target, boxes * scale, objects, 14, Placement.resize(SIZE, size))
    rois = torch.cat((objects[:, None].float(), boxes), dim=1)
    expected = torchvision.ops.roi_align(target.masks[:, None].float(), rois, 14, aligned=True)[:, 0]
    sure = (expected - 0.5).abs() > 1e-5
    assert torch.equal(crops[sure], (expected >= 0.5).float()[sure])
    assert 0.1 < crops.mean() < 0.9


@pytest.mark.parametrize("pixels_at_once", [1, 2 * SIZE[0] * SIZE[1], 2**24])
def test_crops_of_run_lengths_are_those_of_pixels(pixels_at_once, monkeypatch):
    monkeypatch.setattr("detkit.heads.region.mask_targets._PIXELS_AT_ONCE", pixels_at_once)
    generator = torch.Generator().manual_seed(3)
    iscrowd = torch.tensor([False, True, False, False, True, False])
    dense = _target(generator, 6, iscrowd=iscrowd)
    packed = Target(dense.boxes, dense.labels, masks=masks_to_rle(dense.masks), iscrowd=iscrowd)
    regions = _random_boxes(generator, 9), [3, 0, 0, 1, 2, 3, 1, 2, 0], 28
    assert torch.equal(_crops(dense, *regions), _crops(packed, *regions))
    without_crowds = Target(dense.boxes[~iscrowd], dense.labels[~iscrowd], masks=dense.masks[~iscrowd])
    assert torch.equal(_crops(dense, *regions), _crops(without_crowds, *regions))


@pytest.mark.parametrize("pixels_at_once", [1, 3 * SIZE[0] * SIZE[1], 2**24])
def test_crops_of_a_batch_are_those_of_each_image(pixels_at_once, monkeypatch):
    """Of images of two sizes, one of them with run lengths and one without regions, bit for bit."""
    generator = torch.Generator().manual_seed(6)
    small = (40, 50)
    targets = [_target(generator, count) for count in (3, 2, 4)]
    masks = torch.rand(2, *small, generator=generator) > 0.5
    targets.insert(1, Target(_random_boxes(generator, 2, small), torch.zeros(2, dtype=torch.int64), masks=masks))
    targets[3] = replace(targets[3], masks=masks_to_rle(targets[3].masks))
    sizes, counts, offsets = [SIZE, small, SIZE, SIZE], [5, 4, 0, 6], [0, 3, 5, 7]
    placements = [Placement.resize(size, (size[0] * 2, size[1] + 7)) for size in sizes]
    boxes = [_random_boxes(generator, count, size) for count, size in zip(counts, sizes, strict=True)]
    objects = [
        torch.randint(len(target), (count,), generator=generator) for target, count in zip(targets, counts, strict=True)
    ]
    alone = [crop_masks(*one, 14) for one in zip(targets, boxes, objects, placements, strict=True) if len(one[1])]
    monkeypatch.setattr("detkit.heads.region.mask_targets._PIXELS_AT_ONCE", pixels_at_once)
    rows = torch.cat([own + offset for own, offset in zip(objects, offsets, strict=True)])
    together = crop_batch_masks(targets, torch.cat(boxes), rows, counts, placements, 14)
    assert torch.equal(together, torch.cat(alone))


def test_a_region_of_the_objects_size_is_full_and_one_beside_it_empty():
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 10:30, 20:60] = True
    target = Target(torch.tensor([[20.0, 10.0, 60.0, 30.0]]), torch.tensor([0]), masks=masks)
    boxes = torch.tensor([[20.0, 10.0, 60.0, 30.0], [0.0, 10.0, 40.0, 30.0], [0.0, 35.0, 20.0, 55.0]])
    full, half, empty = _crops(target, boxes, [0, 0, 0], 28)
    assert full.all()
    assert half[:, 14:].all()
    assert not half[:, :14].any()
    assert not empty.any()


def test_only_the_mask_of_the_objects_class_is_learned():
    generator = torch.Generator().manual_seed(4)
    head = MaskHead(8, 3, channels=4, convolutions=1, resolution=7)
    target = _target(generator, 2)
    raw = head.answer(torch.randn(2, 8, 7, 7)).detach().requires_grad_()
    _loss(head, raw, _regions([target.boxes], [0, 1], labels=[2, 0]), [target]).backward()
    learned = (raw.grad != 0).flatten(2).any(dim=2)
    assert learned.tolist() == [[False, False, True], [True, False, False]]


def test_loss_is_the_mean_over_all_cells_with_a_mask():
    generator = torch.Generator().manual_seed(5)
    head = MaskHead(8, 1, channels=4, convolutions=1, resolution=7)
    targets = [_target(generator, 2), Target(_random_boxes(generator, 1), torch.tensor([0])), _target(generator, 1)]
    raw = torch.randn(4, 1, 14, 14)
    loss = _loss(head, raw, _regions([target.boxes for target in targets], [0, 1, 2, 3]), targets)
    wanted = torch.cat([_crops(targets[i], targets[i].boxes, range(len(targets[i])), 14) for i in (0, 2)])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(raw[[0, 1, 3], 0], wanted)
    torch.testing.assert_close(loss, expected)


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
def test_under_every_preprocess_a_mask_is_learned_where_the_region_is(preprocess):
    """A region that is the middle half of an object's box, whose mask is a quarter of its rows."""
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 28:32, 32:48] = True
    given = Target(torch.tensor([[24.0, 20.0, 56.0, 36.0]]), torch.tensor([0]), masks=masks)
    batch = preprocess([torch.zeros(3, *SIZE)])
    (target,) = preprocess.targets([given], batch)
    (placement,) = batch.placements
    regions = _regions([placement.boxes(torch.tensor([[32.0, 20.0, 48.0, 36.0]]))], [0])
    head = MaskHead(1, 1, channels=1, convolutions=0, resolution=8)
    raw = torch.zeros(1, 1, 16, 16, requires_grad=True)
    head.losses(raw, regions, {}, placed([placement], [target]))["mask"].backward()
    says_object = raw.grad[0, 0] < 0
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[8:12] = True
    assert torch.equal(says_object, expected)


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=lambda preprocess: type(preprocess).__name__)
def test_under_every_preprocess_a_mask_is_put_where_the_box_is(preprocess):
    (placement,) = preprocess([torch.zeros(3, *SIZE)]).placements
    box = torch.tensor([[32.0, 20.0, 48.0, 36.0]])
    raw = torch.full((1, 1, 16, 16), -9.0)
    raw[0, 0, 8:12] = 9.0
    regions = Regions.of_images([placement.boxes(box)])
    detections = Detections(box, torch.ones(1), torch.tensor([0]))
    (decoded,) = MaskHead(1, 1, channels=1, convolutions=0).decode(raw, regions, {}, [detections], placed([placement]))
    expected = torchvision.models.detection.roi_heads.paste_masks_in_image(raw.sigmoid(), box, SIZE)[:, 0] > 0.5
    assert torch.equal(decoded.masks, expected)
    assert expected[0, 29:31, 33:47].all()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_without_regions_or_masks_the_loss_is_zero_and_attached(batch_norm):
    head = MaskHead(8, 3, channels=4, batch_norm=batch_norm).train()
    none = _regions([torch.zeros(0, 4)], [])
    for target in (Target.empty(), Target(torch.zeros(0, 4), none.labels, masks=torch.zeros(0, *SIZE).bool())):
        loss = _loss(head, head.answer(torch.zeros(0, 8, 14, 14)), none, [target])
        loss.backward()
        assert loss == 0
        assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("run_lengths", [False, True])
def test_decode_gives_masks_of_the_size_of_the_image(run_lengths):
    generator = torch.Generator().manual_seed(6)
    head = MaskHead(8, 3, channels=4, run_lengths=run_lengths)
    boxes = _random_boxes(generator, 4)
    detections = Detections(boxes, torch.ones(4), torch.tensor([0, 1, 2, 0]))
    raw = torch.full((4, 3, 28, 28), -9.0)
    raw[torch.arange(4), detections.labels] = 9.0
    regions, context = Regions.of_images([boxes, boxes[:0]]), context_of([SIZE, (5, 7)])
    several, none = head.decode(raw, regions, {}, [detections, Detections.empty()], context)
    masks = rle_to_masks(several.masks)
    expected = torchvision.models.detection.roi_heads.paste_masks_in_image(torch.ones(4, 1, 28, 28), boxes, SIZE)
    assert torch.equal(masks, expected[:, 0] > 0.5)
    assert none.masks.shape == (0, 5, 7)
