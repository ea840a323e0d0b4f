"""Panoptic maps as fields of targets: moved as label maps, joined with instances of their own."""

import albumentations
import numpy as np
import pytest
import torch

from detkit.data import Augmentation
from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.structures import Target
from detkit.structures.image_fields import PanopticIds

SIZE = (24, 32)
KIND = PanopticIds()


def _map(seed: int, size=SIZE) -> torch.Tensor:
    """Coarse blocks of large and small values, and void."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 300, (size[0] // 4, size[1] // 4), generator=generator, dtype=torch.int32)
    instances = torch.randint(0, 4, labels.shape, generator=generator, dtype=torch.int32)
    values = labels * 65536 + instances
    values[torch.rand(values.shape, generator=generator) < 0.2] = -1
    return values.repeat_interleave(4, 0).repeat_interleave(4, 1)


def test_other_types_are_refused():
    with pytest.raises(TypeError, match=r"panoptic_map must be torch\.int32"):
        Target(panoptic_map=torch.zeros(SIZE, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"label_map must be torch\.uint8"):
        Target(label_map=torch.zeros(SIZE, dtype=torch.int32))


@pytest.mark.parametrize("seed", range(3))
def test_a_placement_moves_each_value_as_its_mask(seed):
    random = np.random.default_rng(seed)
    values = _map(seed)
    x, y = random.integers(0, 8, 2).tolist()
    placement = Placement.part(SIZE, (x, y, x + 20, y + 14), (-3, 2, 45, 31), (40, 48))
    placement = placement.then(Placement.mirror((40, 48), True, False))
    moved = Target(panoptic_map=values).moved(placement).panoptic_map
    for value in values.unique().tolist():
        mask = placement.label_map((values == value).to(torch.uint8), 255) == 1
        assert torch.equal((moved == value) & (mask | (moved != -1)), mask)


@pytest.mark.parametrize(
    "transform",
    [
        albumentations.D4(p=1),
        albumentations.Affine(rotate=(-40, 40), scale=(0.6, 1.5), p=1),
        albumentations.ElasticTransform(alpha=20, sigma=4, p=1),
        albumentations.RandomScale((0.4, 1), p=1),
        albumentations.PadIfNeeded(50, 60, p=1),
    ],
    ids=lambda transform: type(transform).__name__,
)
@pytest.mark.parametrize("seed", [3, None])
def test_albumentations_moves_each_value_as_its_mask(transform, seed):
    """albumentations moves the mask of every value by itself."""
    seed = int(np.random.default_rng(seed).integers(2**31))
    values = _map(seed)
    shown = values.unique().tolist()
    moved = []
    for fields in ({"panoptic_map": values}, *({"label_map": (values == one).to(torch.uint8)} for one in shown)):
        image = np.zeros((*SIZE, 3), np.uint8)
        _, target = Augmentation(0, transforms=[transform])(image, Target(**fields), np.random.default_rng(seed))
        moved.append(target)
    first, *masks = moved
    assert first.panoptic_map.dtype == torch.int32
    inside = masks[0].label_map != 255
    for value, mask in zip(shown, masks, strict=True):
        assert torch.equal((first.panoptic_map == value) & inside, mask.label_map == 1), (seed, value)
    assert (first.panoptic_map[~inside] == -1).all()


def test_joined_maps_number_their_instances_anew():
    first = torch.tensor([[65536 + 1, 65536 + 2, 3 * 65536, -1]], dtype=torch.int32)
    second = torch.tensor([[-1, 65536 + 1, 65536, 2 * 65536 + 2]], dtype=torch.int32)
    joined = KIND.join("panoptic_map", [first, None, second], [0, 0, 0])
    assert joined.dtype == torch.int32
    assert joined.tolist() == [[65536 + 1, 65536 + 3, 65536, 2 * 65536 + 4]]


def test_too_many_instances_are_refused():
    full = torch.full((1, 2), 65535, dtype=torch.int32)
    with pytest.raises(InputError, match=r"131070 instances in panoptic_map, which holds 65535"):
        KIND.join("panoptic_map", [full, full], [0, 0])


def test_covered_pixels_are_void():
    values = _map(1)
    cover = torch.zeros(SIZE, dtype=torch.bool)
    cover[3:9, 4:20] = True
    covered = KIND.cover(values, cover, torch.zeros(0))
    assert (covered[cover] == -1).all()
    assert torch.equal(covered[~cover], values[~cover])


def test_a_batch_moves_as_its_images():
    placements = [Placement.part(SIZE, (0, 0, 32, 24), (0, 0, 64, 48), (48, 64))] * 2
    batch = [Target(panoptic_map=_map(seed)) for seed in (5, 6)]
    together = Target.batch_to_network(batch, placements, "cpu")
    for target, moved, placement in zip(batch, together, placements, strict=True):
        assert torch.equal(moved.panoptic_map, target.moved(placement).panoptic_map)
