import pytest
import torch
import torchvision

from detkit.heads import MaskHead
from detkit.heads.mask import crop_masks
from detkit.matching import SampledRegions
from detkit.ops import masks_to_rle, rle_to_masks
from detkit.structures import Detections, Target

SIZE = (60, 80)  # of the image as it was given, and of its masks
SEEDS = [0, 1, 2]


def _random_boxes(generator, count, size=SIZE):
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values
    return corners.flatten(1) * torch.tensor([size[1], size[0]]).repeat(2) + torch.tensor([0.0, 0.0, 3.0, 3.0])


def _target(generator, count, **fields):
    masks = torch.rand(count, *SIZE, generator=generator) < torch.rand(count, 1, 1, generator=generator)
    return Target(_random_boxes(generator, count), torch.zeros(count, dtype=torch.int64), masks=masks, **fields)


def _regions(boxes, objects, labels=None):
    objects = torch.as_tensor(objects, dtype=torch.int64)
    return SampledRegions(boxes, torch.zeros_like(objects) if labels is None else torch.tensor(labels), boxes, objects)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_crops_are_roi_align_of_the_mask_halved(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    target = _target(generator, 5)
    objects = torch.randint(0, 5, (12,), generator=generator)
    boxes = _random_boxes(generator, 12)
    size = (int(SIZE[0] * scale), int(SIZE[1] * scale))
    crops = crop_masks(target, _regions(boxes * scale, objects), size, 14)
    rois = torch.cat((objects[:, None].float(), boxes), dim=1)
    expected = torchvision.ops.roi_align(target.masks[:, None].float(), rois, 14, aligned=True)[:, 0]
    sure = (expected - 0.5).abs() > 1e-5
    assert torch.equal(crops[sure], (expected >= 0.5).float()[sure])
    assert 0.1 < crops.mean() < 0.9


@pytest.mark.parametrize("pixels_at_once", [1, 2 * SIZE[0] * SIZE[1], 2**24])
def test_crops_of_run_lengths_are_those_of_pixels(pixels_at_once, monkeypatch):
    monkeypatch.setattr("detkit.heads.mask._PIXELS_AT_ONCE", pixels_at_once)
    generator = torch.Generator().manual_seed(3)
    iscrowd = torch.tensor([False, True, False, False, True, False])
    dense = _target(generator, 6, iscrowd=iscrowd)
    packed = Target(dense.boxes, dense.labels, masks=masks_to_rle(dense.masks), iscrowd=iscrowd)
    regions = _regions(_random_boxes(generator, 9), [3, 0, 0, 1, 2, 3, 1, 2, 0])
    assert torch.equal(crop_masks(dense, regions, SIZE, 28), crop_masks(packed, regions, SIZE, 28))
    without_crowds = Target(dense.boxes[~iscrowd], dense.labels[~iscrowd], masks=dense.masks[~iscrowd])
    assert torch.equal(crop_masks(dense, regions, SIZE, 28), crop_masks(without_crowds, regions, SIZE, 28))


def test_a_region_of_the_objects_size_is_full_and_one_beside_it_empty():
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 10:30, 20:60] = True
    target = Target(torch.tensor([[20.0, 10.0, 60.0, 30.0]]), torch.tensor([0]), masks=masks)
    boxes = torch.tensor([[20.0, 10.0, 60.0, 30.0], [0.0, 10.0, 40.0, 30.0], [0.0, 35.0, 20.0, 55.0]])
    full, half, empty = crop_masks(target, _regions(boxes, [0, 0, 0]), SIZE, 28)
    assert full.all()
    assert half[:, 14:].all()
    assert not half[:, :14].any()
    assert not empty.any()


def test_only_the_mask_of_the_objects_class_is_learned():
    generator = torch.Generator().manual_seed(4)
    head = MaskHead(8, 3, channels=4, convolutions=1, resolution=7)
    target = _target(generator, 2)
    raw = head(torch.randn(2, 8, 7, 7)).detach().requires_grad_()
    head.losses(raw, [_regions(target.boxes, [0, 1], labels=[2, 0])], [target], [SIZE])["mask"].backward()
    learned = (raw.grad != 0).flatten(2).any(dim=2)
    assert learned.tolist() == [[False, False, True], [True, False, False]]


def test_loss_is_the_mean_over_all_cells_with_a_mask():
    generator = torch.Generator().manual_seed(5)
    head = MaskHead(8, 1, channels=4, convolutions=1, resolution=7)
    targets = [_target(generator, 2), Target(_random_boxes(generator, 1), torch.tensor([0])), _target(generator, 1)]
    regions = [_regions(target.boxes, list(range(len(target)))) for target in targets]
    raw = torch.randn(4, 1, 14, 14)
    loss = head.losses(raw, regions, targets, [SIZE] * 3)["mask"]
    wanted = torch.cat([crop_masks(targets[i], regions[i], SIZE, 14) for i in (0, 2)])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(raw[[0, 1, 3], 0], wanted)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_without_regions_or_masks_the_loss_is_zero_and_attached(batch_norm):
    head = MaskHead(8, 3, channels=4, batch_norm=batch_norm).train()
    none = _regions(torch.zeros(0, 4), [])
    for target in (Target.empty(), Target(torch.zeros(0, 4), none.labels, masks=torch.zeros(0, *SIZE).bool())):
        loss = head.losses(head(torch.zeros(0, 8, 14, 14)), [none], [target], [SIZE])["mask"]
        loss.backward()
        assert loss == 0
        assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("run_lengths", [False, True])
def test_decode_gives_masks_of_the_size_of_the_image(run_lengths):
    generator = torch.Generator().manual_seed(6)
    head = MaskHead(8, 3, channels=4, run_lengths=run_lengths)
    boxes = _random_boxes(generator, 4)
    found = Detections(boxes, torch.ones(4), torch.tensor([0, 1, 2, 0]))
    raw = torch.full((4, 3, 28, 28), -9.0)
    raw[torch.arange(4), found.labels] = 9.0
    several, none = head.decode(raw, [boxes, boxes[:0]], [found, Detections.empty()], [SIZE, (5, 7)])
    masks = rle_to_masks(several.masks)
    expected = torchvision.models.detection.roi_heads.paste_masks_in_image(torch.ones(4, 1, 28, 28), boxes, SIZE)
    assert torch.equal(masks, expected[:, 0] > 0.5)
    assert none.masks.shape == (0, 5, 7)
