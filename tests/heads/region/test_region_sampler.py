"""The regions that the branches of two-stage detectors learn from."""

import pytest
import torch
from contexts import context_of

from detkit.errors import InputError
from detkit.heads import Regions, RegionSampler
from detkit.heads.assignment import object_offsets
from detkit.ops import box_iou
from detkit.structures import Target

SEEDS = [0, 1, 2, 3]


def _boxes(count, seed, side=60):
    """Boxes with corners at whole pixels of a small image."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side, (count, 2, 2), generator=generator).sort(dim=1).values
    corners[:, 1] += 4
    return corners.flatten(1).float()


def _target(boxes, iscrowd=None, labels=None):
    labels = torch.arange(len(boxes)) if labels is None else labels
    return Target(boxes, labels, iscrowd=iscrowd)


def _sample(sampler, proposals, targets, **options):
    return sampler(Regions.of_images(proposals), context_of([(200, 200)] * len(targets), targets, **options))


class TestRegionSampler:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_fields_fit_together(self, seed):
        torch.manual_seed(seed)
        objects = _boxes(5, seed)
        target = _target(objects, torch.arange(5) == 3, labels=torch.arange(5) + 10)
        sampled = _sample(RegionSampler(count=64), [_boxes(200, seed + 7)], [target])
        foreground = sampled.labels >= 0
        assert len(sampled.boxes) == len(sampled.labels) == len(sampled.matched) == 64
        assert 4 <= foreground.sum() <= 16
        matched_objects = target.objects()[sampled.matched[foreground]]
        assert torch.equal(sampled.labels[foreground], matched_objects.labels)
        best = box_iou(sampled.boxes, target.objects().boxes).max(dim=1).values
        assert (best[foreground] >= 0.5).all()
        assert (best[~foreground] < 0.5).all()
        assert 13 not in sampled.labels  # the crowd's

    def test_objects_are_regions_themselves(self):
        objects = torch.tensor([[0.0, 0.0, 9.0, 9.0], [30.0, 30.0, 50.0, 60.0]])
        sampled = _sample(RegionSampler(), [torch.zeros(0, 4)], [_target(objects)])
        assert sorted(sampled.boxes.tolist()) == objects.tolist()
        assert sorted(sampled.labels.tolist()) == [0, 1]

    def test_without_objects_all_regions_are_background(self):
        proposals = _boxes(10, 1)
        sampled = _sample(RegionSampler(), [proposals], [Target.empty()])
        assert sampled.labels.tolist() == [-1] * 10
        assert sorted(sampled.boxes.tolist()) == sorted(proposals.tolist())

    def test_without_objects_and_proposals_there_are_no_regions(self):
        sampled = _sample(RegionSampler(), [torch.zeros(0, 4)], [Target.empty()])
        assert sampled.boxes.shape == (0, 4)
        assert sampled.labels.shape == sampled.matched.shape == sampled.image_index.shape == (0,)
        assert sampled.labels.dtype == torch.int64

    def test_of_crowds_alone_nothing_inside_is_learned(self):
        crowd = _target(torch.tensor([[0.0, 0.0, 64.0, 64.0]]), torch.tensor([True]))
        proposals = torch.cat((_boxes(20, 0), torch.tensor([[100.0, 100.0, 130.0, 130.0]])))
        sampled = _sample(RegionSampler(), [proposals], [crowd])
        assert sampled.boxes.tolist() == [[100, 100, 130, 130]]
        assert sampled.labels.tolist() == [-1]

    def test_of_a_batch_each_image_gives_its_own_with_objects_counted_through(self):
        targets = [_target(_boxes(2, 0)), Target(), _target(_boxes(3, 1), torch.tensor([True, False, False]))]
        sampled = _sample(RegionSampler(count=16), [_boxes(40, seed) for seed in (7, 8, 9)], targets)
        assert sampled.image_index.tolist() == [0] * 16 + [2] * 16  # of the second image nothing is annotated
        boxes, labels = context_of([(200, 200)] * 3, targets).objects
        foreground = sampled.foreground()
        assert foreground.image_index.unique().tolist() == [0, 2]
        assert torch.equal(labels[foreground.matched], foreground.labels)
        iou = box_iou(foreground.boxes, boxes)
        assert (iou[torch.arange(len(foreground)), foreground.matched] >= 0.5).all()

    def test_where_nothing_is_annotated_there_are_no_regions(self):
        sampled = _sample(RegionSampler(), [_boxes(4, 0), _boxes(3, 1)], [Target(), Target()])
        assert len(sampled) == len(sampled.labels) == len(sampled.matched) == len(sampled.image_index) == 0

    def test_draws_from_the_generator(self):
        targets, proposals = [_target(_boxes(3, 0))], [_boxes(90, 1)]
        drawn = [
            _sample(RegionSampler(count=8), proposals, targets, generator=torch.Generator().manual_seed(seed)).boxes
            for seed in (1, 1, 2)
        ]
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


class TestContext:
    def test_counts_the_objects_of_the_batch(self):
        crowd = torch.tensor([False, True, False])
        targets = [_target(_boxes(3, 0), crowd), Target(), Target.empty(), _target(_boxes(1, 1))]
        context = context_of([(200, 200)] * 4, targets)
        assert torch.equal(context.objects.boxes, torch.cat((targets[0].boxes[~crowd], targets[3].boxes)))
        assert context.objects.labels.tolist() == [0, 2, 0]
        assert object_offsets(targets) == [0, 2, 2, 2]

    def test_losses_say_what_they_lack(self):
        with pytest.raises(InputError, match="Context with targets"):
            context_of([(9, 9)]).objects  # noqa: B018
        with pytest.raises(InputError, match="Regions with labels and matched"):
            Regions.of_images([torch.zeros(1, 4)]).foreground()


class TestRegions:
    def test_are_cut_at_their_own_image(self):
        regions = Regions.of_images([torch.tensor([[-5.0, 2, 60, 70]]), torch.tensor([[-5.0, 2, 60, 70]])])
        assert regions.clipped([(40, 50), (80, 20)]).boxes.tolist() == [[0, 2, 50, 40], [0, 2, 20, 70]]

    def test_of_an_image_stand_in_a_slice(self):
        regions = Regions.of_images([torch.zeros(2, 4), torch.zeros(0, 4), torch.ones(3, 4), torch.zeros(0, 4)])
        assert regions.slices(4) == [slice(0, 2), slice(2, 2), slice(2, 5), slice(5, 5)]
        assert regions[torch.tensor([1, 4])].image_index.tolist() == [0, 2]


class TestRegionsOfImages:
    def test_images_without_regions_keep_their_place(self):
        regions = Regions.of_images([None, torch.ones(2, 4), torch.zeros(0, 4), torch.ones(1, 4)])
        assert regions.image_index.tolist() == [1, 1, 3]
        assert regions.slices(4) == [slice(0, 0), slice(0, 2), slice(2, 2), slice(2, 3)]

    def test_may_be_none_at_all(self):
        for boxes in ([], [None, None]):
            regions = Regions.of_images(boxes, labels=[], device="cpu")
            assert (regions.boxes.shape, len(regions.labels), regions.image_index.dtype) == ((0, 4), 0, torch.int64)
            assert regions.slices(3) == [slice(0, 0)] * 3

    def test_go_to_the_device_that_is_named(self):
        assert Regions.of_images([torch.ones(1, 4), None], device="meta").image_index.device.type == "meta"

    def test_are_counted_once(self, monkeypatch):
        selected = Regions.of_images([torch.ones(2, 4), torch.ones(3, 4)])[torch.tensor([0, 2, 3])]
        assert selected.slices(2) == [slice(0, 1), slice(1, 3)]
        monkeypatch.setattr(torch, "bincount", None)
        assert selected.slices(2) == [slice(0, 1), slice(1, 3)]
