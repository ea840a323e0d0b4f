"""The steps between images and answers, one by one: what each needs of the others, whatever the model."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.heads import (
    BoxCascade,
    BoxHead,
    Context,
    FCOSHead,
    MaskHead,
    Regions,
    RetinaNetHead,
    TwoFullyConnected,
    YOLOv3Head,
)
from detkit.models import FCOS, CascadeRCNN, Classifier, FasterRCNN, FastRCNN, MaskRCNN, RegionAlign, RetinaNet, YOLOv3
from detkit.necks import FPN
from detkit.preprocess import Batch, ShortestEdge
from detkit.structures import Target

ANCHORS = [[(20.0, 24.0)], [(30.0, 18.0)], [(44.0, 60.0)]]
NARROW = {"neck": partial(FPN, out_channels=32, extra_levels=None), "regions_per_image": 64}
BOX_HEAD = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=32))


def _yolo(backbone, classes, **options):
    return YOLOv3(backbone, classes, None, partial(YOLOv3Head, anchors=ANCHORS), **options)


MODELS = {
    "faster": partial(FasterRCNN, box_head=BOX_HEAD, **NARROW),
    "cascade": partial(CascadeRCNN, box_head=partial(BOX_HEAD, class_agnostic=True), **NARROW),
    "mask": partial(MaskRCNN, box_head=BOX_HEAD, **NARROW),
    "retinanet": RetinaNet,
    "fcos": FCOS,
    "yolo": _yolo,
}


def _flow(tiny_backbone, samples, name):
    torch.manual_seed(0)
    model = MODELS[name](tiny_backbone(), 3, preprocess=ShortestEdge(96, 160, divisor=16)).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    images, targets = samples
    if name == "mask":
        height_width = [tuple(image.shape[1:]) for image in images]
        targets = [replace(t, masks=torch.ones(2, *size).bool()) for t, size in zip(targets, height_width, strict=True)]
    context = model.context(images, targets)
    return model, images, context, model.heads(model.features(context.batch), context)


EVERY = pytest.mark.parametrize("name", MODELS)


@EVERY
def test_one_forward_gives_losses_and_what_detection_without_targets_gives(tiny_backbone, samples, name):
    model, images, context, raw = _flow(tiny_backbone, samples, name)
    with torch.no_grad():
        decoded, detected = model.decode(raw, context), model(images)
    assert all(loss.isfinite() for loss in model.losses(raw, context).values())
    for one, other in zip(decoded, detected, strict=True):
        assert len(one)
        for field in ("boxes", "scores", "labels", "masks"):
            values = getattr(one, field), getattr(other, field)
            assert values == (None, None) or torch.equal(*values), field


@EVERY
def test_candidates_and_assignment_are_asked_of_the_model(tiny_backbone, samples, name):
    model, _, context, raw = _flow(tiny_backbone, samples, name)
    candidates, rows = model.candidates(raw, context), model.assign(raw, context)
    scores = candidates.scores()
    assert scores.shape == (len(candidates.boxes), 3)
    assert 0 <= float(scores.detach().min()) <= float(scores.detach().max()) <= 1
    assert rows.shape == candidates.image_index.shape == (len(candidates.boxes),)
    owners = torch.tensor([0, 0, 1, 1])[rows.clamp(min=0)]
    assert ((rows < 0) | (owners == candidates.image_index)).all()
    assert (rows >= -2).all()
    assert (rows == -1).any()
    gradients = torch.autograd.grad(scores.sum(), [next(model.backbone.parameters())])
    assert gradients[0].abs().sum() > 0


def test_a_classifier_has_a_candidate_for_each_image(tiny_backbone):
    model = Classifier(tiny_backbone(), 3)
    context = model.context([torch.rand(3, 60, 70)] * 2, [Target(image_label=1)] * 2)
    raw = model.heads(model.features(context.batch), context)
    torch.testing.assert_close(model.candidates(raw, context).scores().sum(dim=1), torch.ones(2))
    assert model.assign(raw, context).tolist() == [-2, -2]


class TestScoresOfRegions:
    """By the candidates of a box branch as detection makes them."""

    def _branch(self, kind):
        torch.manual_seed(0)
        branch = kind(6, 3, 4)
        for parameter in branch.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        return branch

    def test_are_those_of_a_box_head(self):
        head = self._branch(partial(BoxHead, class_agnostic=True))
        regions = Regions.of_images([torch.tensor([[0.0, 0, 9, 9], [2, 3, 20, 30]])])
        raw = head(lambda regions, resolution=None: torch.randn(2, 6, 3, 3), regions, {}, None)
        candidates = head.candidates(raw, regions, {}, None)
        torch.testing.assert_close(candidates.scores(), head.scores(raw))
        torch.testing.assert_close(candidates.boxes, head.boxes(raw, regions)[:, 0])

    def test_are_the_mean_of_the_stages_of_a_cascade(self):
        cascade = self._branch(partial(BoxCascade, box_head=BoxHead, ious=(0.5, 0.6)))
        batch = Batch(torch.zeros(1, 3, 40, 40), [Placement.identity((40, 40))])
        regions = Regions.of_images([torch.tensor([[0.0, 0, 9, 9], [2, 3, 20, 30]])])
        crops = torch.randn(2, 6, 3, 3)
        raw = cascade(lambda regions, resolution=None: crops, regions, {}, Context(batch))
        mean = sum(head.scores(output) for head, output in zip(cascade.stages, raw.stages, strict=True)) / 2
        torch.testing.assert_close(cascade.candidates(raw, regions, {}, Context(batch)).scores(), mean)

    def test_of_a_cascade_in_training_are_of_no_common_regions(self):
        cascade = self._branch(partial(BoxCascade, box_head=BoxHead, ious=(0.5, 0.6)))
        target = Target(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([1]))
        context = Context(Batch(torch.zeros(1, 3, 40, 40), [Placement.identity((40, 40))]), [target])
        regions = Regions.of_images([torch.tensor([[0.0, 0, 9, 9], [2, 3, 20, 30]])])
        raw = cascade(lambda regions, resolution=None: torch.randn(len(regions), 6, 3, 3), regions, {}, context)
        with pytest.raises(InputError, match="made for training"):
            cascade.decode(raw, regions, {}, None, context)


class TestGiven:
    """Regions and more that come with the images."""

    def _model(self, tiny_backbone, **options):
        pool = RegionAlign(canonical_size=64)
        return FastRCNN(tiny_backbone(), 3, region_pool=pool, preprocess=ShortestEdge(60, 90), **options)

    def test_is_kept_beside_proposals_that_are_found(self, tiny_backbone):
        model = self._model(tiny_backbone, proposals=lambda image: torch.tensor([[0.0, 0, 20, 20]]))
        known = Target(proposals=torch.tensor([[5.0, 5, 30, 30]]), camera=torch.eye(3))
        context = model.context([torch.rand(3, 60, 60)] * 2, given=[Target(camera=2 * torch.eye(3)), known])
        assert [float(per_image.camera[0, 0]) for per_image in context.given] == [2, 1]
        assert [per_image.proposals[0, 2] for per_image in context.given] == [20, 30]

    def test_is_missing_of_an_image_by_name(self, tiny_backbone):
        model, images = self._model(tiny_backbone), [torch.rand(3, 60, 60)] * 2
        for given, words in (
            (None, "this model needs proposals with the images"),
            (
                [Target(proposals=torch.ones(1, 4)), Target(image_id="b")],
                r"given\[1\], image id b: proposals is missing",
            ),
        ):
            context = model.context(images, given=given)
            raw = model.heads(model.features(context.batch), context)
            with pytest.raises(InputError, match=words):
                model.decode(raw, context)


class TestFieldsOfParts:
    """What a model learns from and asks for is what its parts name."""

    class Depth(RetinaNetHead):
        learns_from = {"masks"}  # noqa: RUF012
        asks_for = "camera"

    class Pose(MaskHead):
        asks_for = ("camera",)

    def test_of_a_dense_head(self, tiny_backbone):
        model = RetinaNet(tiny_backbone(), 3, head=self.Depth)
        assert (model.learns_from, model.asks_for) == ({"masks"}, {"camera"})
        with pytest.raises(InputError, match="the model asks for camera"):
            model([torch.rand(3, 40, 40)])

    def test_of_a_branch_beside_the_models_own(self, tiny_backbone):
        branches = {"pose": self.Pose}
        model = FastRCNN(tiny_backbone(), 3, region_pool=RegionAlign(), branches=branches)
        assert (model.learns_from, model.asks_for) == ({"masks"}, {"proposals", "camera"})

    def test_must_be_fields_of_targets(self, tiny_backbone):
        class Misspelled(FCOSHead):
            learns_from = "maks"

        with pytest.raises(InputError, match=r"Misspelled.learns_from names 'maks'.*did you mean masks\?"):
            FCOS(tiny_backbone(), 3, head=Misspelled)

    def test_may_be_those_of_a_data_set_of_ones_own(self, tiny_backbone):
        class Tracking(FCOSHead):
            learns_from = "track_numbers"

        assert FCOS(tiny_backbone(), 3, head=Tracking).learns_from == {"track_numbers"}


class TestPadding:
    def test_is_what_no_image_fills(self):
        batch = Batch(torch.zeros(2, 3, 4, 6), [Placement.identity((4, 5)), Placement.identity((2, 6))])
        expected = torch.zeros(2, 4, 6, dtype=torch.bool)
        expected[0, :, 5], expected[1, 2:] = True, True
        assert torch.equal(batch.padding, expected)
        assert batch.padding is batch.padding

    def test_is_nowhere_where_nothing_is_known_of_images(self):
        assert not Batch(torch.zeros(2, 3, 4, 6)).padding.any()

    def test_is_made_where_the_images_are(self):
        placements = [Placement.identity((4, 5)), Placement.identity((2, 6))]
        assert Batch(torch.zeros(2, 3, 4, 6, device="meta"), placements).padding.device.type == "meta"
