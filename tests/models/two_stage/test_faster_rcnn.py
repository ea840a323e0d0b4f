"""Faster R-CNN as a whole, on a backbone small enough to be trained within the tests."""

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads import RPN, BoxHead, TwoFullyConnected
from detkit.matching import Matcher
from detkit.models import FasterRCNN, Raw
from detkit.necks import FPN
from detkit.ops import box_iou
from detkit.preprocess import ShortestEdge
from detkit.structures import Category, Detections, Target

LOSSES = {"rpn_cls", "rpn_box", "box_cls", "box_reg"}
CROWD = Target(torch.tensor([[0.0, 0.0, 128.0, 96.0]]), torch.tensor([0]), iscrowd=torch.tensor([True]))


@pytest.fixture
def model(make_model):
    """Untrained, with detections of every score."""
    return make_model(score_threshold=0.0).eval()


def _losses(model, images, targets, seed=0):
    torch.manual_seed(seed)  # of the samples of anchors and regions
    return model(images, targets)


def _same(detections, expected, **tolerance):
    assert len(detections) == len(expected)
    assert torch.equal(detections.labels, expected.labels)
    torch.testing.assert_close(detections.boxes, expected.boxes, **tolerance)
    torch.testing.assert_close(detections.scores, expected.scores, **tolerance)


class TestLosses:
    @pytest.mark.parametrize("training", [True, False])
    def test_are_scalars_of_the_same_names_in_any_mode(self, model, samples, training):
        model.train(training)
        losses = _losses(model, *samples)
        assert losses.keys() == LOSSES
        assert all(loss.shape == () and loss.dtype == torch.float32 and loss > 0 for loss in losses.values())
        expected = _losses(model.train(not training), *samples)
        torch.testing.assert_close(losses, expected)

    def test_without_gradients_are_the_same(self, model, samples):
        expected = _losses(model, *samples)
        for context in (torch.no_grad(), torch.inference_mode()):
            with context:
                losses = _losses(model, *samples)
            assert not losses["rpn_cls"].requires_grad
            torch.testing.assert_close(losses, {name: loss.detach() for name, loss in expected.items()})

    @pytest.mark.parametrize(
        "targets",
        [
            [Target.empty(), Target.empty()],
            [CROWD, CROWD],
            [Target.empty(), Target(torch.tensor([[10.0, 20, 60, 100]]), torch.tensor([2]))],
            [CROWD, Target(torch.tensor([[0.5, 0.5, 1.0, 0.75]]), torch.tensor([2]))],
            [Target(torch.tensor([[-900.0, -900, -800, -800]]), torch.tensor([0])), Target.empty()],
        ],
        ids=["no objects", "crowds", "one without", "a speck", "far outside"],
    )
    def test_reach_every_parameter_whatever_there_is_to_learn(self, model, samples, targets):
        losses = _losses(model.train(), samples[0], targets)
        assert losses.keys() == LOSSES
        assert all(loss.isfinite() and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert without == []
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())

    def test_of_objects_move_every_parameter(self, model, samples):
        sum(_losses(model.train(), *samples).values()).backward()
        still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
        assert still == []

    def test_without_objects_leave_the_regressions_alone(self, model, samples):
        losses = _losses(model, samples[0], [Target.empty()] * 2)
        assert losses["rpn_box"] == losses["box_reg"] == 0
        assert losses["rpn_cls"] > 0
        assert losses["box_cls"] > 0

    def test_do_not_depend_on_the_size_of_the_given_image(self, model, samples):
        """Twice the pixels and twice the boxes are the same image to the network."""
        images, targets = samples
        images = [image.float() / 255 for image in images]
        larger = [F.interpolate(image[None], scale_factor=2, mode="nearest")[0] for image in images]
        larger_targets = [Target(2 * target.boxes, target.labels) for target in targets]
        model.preprocess = ShortestEdge(min_size=48, max_size=80)
        expected, losses = _losses(model, images, targets), _losses(model, larger, larger_targets)
        for name, loss in losses.items():
            torch.testing.assert_close(loss, expected[name], rtol=0.1, atol=0.01)

    def test_are_weighted(self, make_model, samples):
        expected = _losses(make_model(), *samples)
        weighted = _losses(make_model(loss_weights={"rpn_cls": 2.0, "box_reg": 0.0}), *samples)
        for name, factor in {"rpn_cls": 2.0, "rpn_box": 1.0, "box_cls": 1.0, "box_reg": 0.0}.items():
            torch.testing.assert_close(weighted[name], factor * expected[name])
        assert weighted["box_reg"].requires_grad

    def test_that_do_not_exist_cannot_be_weighted(self, make_model, samples):
        with pytest.raises(InputError, match=r"\['rpn_clas'\].*'rpn_cls'"):
            make_model(loss_weights={"rpn_clas": 2.0})(*samples)

    def test_under_autocast_are_float32(self, model, samples):
        expected = _losses(model, *samples)
        with torch.autocast("cpu", torch.bfloat16):
            losses = _losses(model, *samples)
        for name, loss in losses.items():
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss, expected[name], rtol=0.2, atol=0.05)
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


class TestDetections:
    @pytest.mark.parametrize("training", [True, False])
    def test_lie_in_the_image_best_first(self, model, samples, training):
        images = [*samples[0], torch.zeros(3, 30, 200)]
        result = model.train(training)(images)
        for detections, image in zip(result, images, strict=True):
            assert isinstance(detections, Detections)
            assert 0 < len(detections) <= 100
            assert (detections.boxes >= 0).all()
            assert (detections.boxes <= torch.tensor([image.shape[2], image.shape[1]] * 2) + 1e-3).all()
            assert (detections.scores.diff() <= 0).all()
            assert ((detections.labels >= 0) & (detections.labels < 3)).all()

    def test_are_the_same_for_bytes_and_fractions(self, model, samples):
        for detections, expected in zip(
            model([image.float() / 255 for image in samples[0]]), model(samples[0]), strict=True
        ):
            _same(detections, expected, rtol=0, atol=0)

    def test_of_a_batch_are_those_of_its_images(self, model):
        """Of several sizes that are padded to the same; the padding is part of the backbone's input."""
        generator = torch.Generator().manual_seed(1)
        images = [torch.rand(3, *size, generator=generator) for size in ((96, 128), (96, 100), (96, 97), (96, 126))]
        for detections, image in zip(model(images), images, strict=True):
            _same(detections, model([image])[0], rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("size", [(1, 1), (12000, 200), (3, 700), (2, 2)])
    def test_of_extreme_sizes(self, model, size):
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        detections, normal = model([image, torch.rand(3, 60, 80, generator=generator)])
        assert (detections.boxes <= torch.tensor([size[1], size[0]] * 2) * 1.0001).all()
        assert len(normal) > 0
        losses = model([image], [Target(torch.tensor([[0.0, 0.0, size[1], size[0]]]), torch.tensor([1]))])
        assert all(loss.isfinite() for loss in losses.values())

    def test_of_broken_pixels_are_refused(self, model):
        with pytest.raises(InputError, match=r"images\[0\] has values from nan to nan"):
            model([torch.full((3, 60, 80), torch.nan), torch.rand(3, 60, 80)])

    def test_under_autocast_are_float32(self, model, samples):
        with torch.autocast("cpu", torch.bfloat16):
            result = model(samples[0])
        assert all(detections.boxes.dtype == detections.scores.dtype == torch.float32 for detections in result)
        assert all(len(detections) > 0 and detections.boxes.isfinite().all() for detections in result)


class TestTrained:
    """Some seconds of training on two images must end in finding what is on them."""

    @staticmethod
    def _check(detections, target, scale=1.0):
        """Every object is found with its label, and at most one thing more."""
        sure = detections[detections.scores > 0.5]
        iou = box_iou(target.boxes * scale, sure.boxes)
        iou[target.labels[:, None] != sure.labels] = 0
        assert (iou.amax(dim=1) > 0.5).all()
        assert len(sure) <= len(target) + 1

    def test_finds_the_objects_and_little_else(self, trained, samples):
        for image, target in zip(*samples, strict=True):
            self._check(trained.predict(image), target)

    @pytest.mark.parametrize("scale", [0.5, 1.5, 3.0])
    def test_answers_in_pixels_of_the_image_as_given(self, trained, samples, scale):
        for image, target in zip(*samples, strict=True):
            resized = F.interpolate(image[None].float() / 255, scale_factor=scale, mode="bilinear", antialias=True)[0]
            self._check(trained.predict(resized), target, scale)

    def test_finds_the_same_in_a_batch_of_other_sizes(self, trained, samples):
        images, targets = samples
        empty = (torch.rand(3, 64, 160, generator=torch.Generator().manual_seed(5)) * 60).to(torch.uint8)
        detections = trained([images[0], empty, images[1]])
        assert (detections[1].scores > 0.5).sum() <= 1
        self._check(detections[0], targets[0])
        self._check(detections[2], targets[1])

    def test_finds_the_same_in_training_mode(self, trained, samples):
        model = copy.deepcopy(trained).train()
        for detections, target in zip(model(samples[0]), samples[1], strict=True):
            self._check(detections, target)

    def test_has_learned(self, trained, make_model, samples):
        before, after = (sum(_losses(model, *samples).values()) for model in (make_model(), trained))
        assert after < 0.3 * before

    def test_weights_carry_it_all(self, trained, make_model, samples, tmp_path):
        torch.save(trained.state_dict(), tmp_path / "weights.pth")
        other = make_model(seed=9).eval()
        other.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
        for detections, expected in zip(other.predict(samples[0]), trained.predict(samples[0]), strict=True):
            _same(detections, expected, rtol=0, atol=0)
        assert trained.state_dict().keys() == dict(trained.named_parameters()).keys()


class TestRaw:
    @staticmethod
    def _equal(result, expected):
        (features, proposed), (wanted_features, wanted) = result, expected
        torch.testing.assert_close(list(features), list(wanted_features))
        for part, wanted_part in zip(proposed, wanted, strict=True):
            torch.testing.assert_close(list(part), list(wanted_part))

    def test_is_tensors_in_and_out(self, model):
        features, proposed = model.raw(torch.rand(2, 3, 96, 128))
        assert [tuple(map_.shape) for map_ in features] == [(2, 32, 96 // s, 128 // s) for s in (4, 8, 16)]
        assert [tuple(level.shape) for level in proposed.objectness] == [(2, 3 * 96 * 128 // s**2) for s in (4, 8, 16)]

    def test_compiles_as_one_graph(self, model):
        compiled = torch.compile(model.raw, fullgraph=True, backend="eager")
        images = torch.rand(2, 3, 64, 96)
        self._equal(compiled(images), model.raw(images))

    def test_is_exported_for_batches_of_any_size(self, model):
        batch, *cells = (torch.export.Dim(name, min=1, max=40) for name in ("batch", "height", "width"))
        shape = {0: batch, 2: 32 * cells[0], 3: 32 * cells[1]}
        exported = torch.export.export(Raw(model), (torch.rand(2, 3, 96, 128),), dynamic_shapes={"images": shape})
        for size in ((3, 3, 64, 160), (1, 3, 256, 96)):
            images = torch.rand(size)
            self._equal(exported.module()(images), model.raw(images))


class TestParts:
    def test_are_told_what_they_stand_on(self, make_model):
        asked = {}

        def spy(name, part):
            def build(*arguments):
                asked[name] = arguments
                return part(*arguments)

            return build

        neck = partial(FPN, out_channels=8, extra_levels=None)
        make_model(
            neck=spy("neck", neck),
            box_head=spy("box_head", partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=8))),
        )
        assert asked == {"neck": ([32, 32, 32], [4, 8, 16]), "box_head": (8, 7, 3)}

    def test_the_extra_level_proposes_but_is_not_cropped(self, make_model, samples):
        model = make_model(neck=partial(FPN, out_channels=32), rpn=RPN)
        assert model.neck.strides == [4, 8, 16, 32]
        cropped = []
        model.region_pool.register_forward_pre_hook(lambda module, inputs: cropped.append(inputs[:2]))
        model(samples[0])
        features, strides = cropped[0]
        assert (len(features), strides) == (3, [4, 8, 16])

    def test_levels_are_cropped_by_their_strides(self, make_model, samples):
        """A neck may return finer levels than the backbone has."""

        class Finer(FPN):
            def __init__(self, channels, strides):
                super().__init__(channels, strides, out_channels=32, extra_levels=None)
                self.channels, self.strides = [32] * 4, [2, *strides]

            def forward(self, features):
                maps = super().forward(features)
                return [F.interpolate(maps[0], scale_factor=2), *maps]

        model = make_model(neck=Finer, rpn=partial(RPN, anchor_sizes=[[8], [16], [32], [64]]))
        cropped = []
        model.region_pool.register_forward_pre_hook(lambda module, inputs: cropped.append(inputs[:2]))
        model(samples[0])
        features, strides = cropped[0]
        assert strides == [4, 8, 16]
        assert features[0].shape[-1] * 4 == features[1].shape[-1] * 8

    def test_without_a_common_stride_are_refused(self, make_model):
        class Coarse(FPN):
            def __init__(self, channels, strides):
                super().__init__(channels, strides, out_channels=32)
                self.strides = [64 * stride for stride in self.strides]

        with pytest.raises(InputError, match=r"the neck has strides \[256, .*\], the backbone \[4, 8, 16\]"):
            make_model(neck=Coarse, rpn=RPN)

    def test_all_defaults_fit_together(self, make_model):
        reference = make_model()
        model = FasterRCNN(reference.backbone, num_classes=80)
        assert model.num_classes == 80
        assert model.preprocess.min_size == 800
        assert model.box_head.classes.out_features == 81
        assert model.region_sampler.count == 512

    def test_regions_per_image_is_the_sampler_s(self, make_model, samples):
        model, drawn = make_model(regions_per_image=24), []
        model.box_head.register_forward_pre_hook(lambda module, inputs: drawn.append(len(inputs[1])))
        model(*samples)
        assert drawn == [48]

    def test_the_region_matcher_is_the_sampler_s(self, make_model):
        assert make_model().region_sampler.matcher == Matcher(0.5, 0.5)
        own = Matcher(0.5, 0.5, least_background_iou=0.1)
        assert make_model(region_matcher=own).region_sampler.matcher == own

    def test_categories_are_unknown_until_set_and_not_weights(self, make_model):
        model = make_model()
        assert model.categories is None
        model.categories = [Category(1, "person")]
        assert not any("categories" in name for name in model.state_dict())


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(trained, samples):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    model = copy.deepcopy(trained).cuda()
    for detections, expected in zip(model.predict(samples[0]), trained.predict(samples[0]), strict=True):
        sure = expected.scores > 0.3
        _same(detections[detections.scores > 0.3], expected[sure], rtol=1e-2, atol=0.5)
    losses = model(*samples)
    assert {loss.device.type for loss in losses.values()} == {"cuda"}
    assert all(loss.isfinite() for loss in losses.values())
