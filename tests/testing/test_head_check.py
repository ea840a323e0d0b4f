"""check_head takes every head of detkit, and names each rule that a broken one breaks."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from detkit.geometry import Placement
from detkit.heads import (
    NMS,
    BoxCascade,
    BoxHead,
    Candidates,
    ClassificationHead,
    ConvolutionsThenFullyConnected,
    DenseHead,
    DepthHead,
    FCOSHead,
    KeypointHead,
    LocalizationHead,
    MaskHead,
    MeshHead,
    OverFeatHead,
    RetinaNetHead,
    SSDHead,
    SSDliteHead,
    SVMBoxHead,
    TwoFullyConnected,
    VoxelHead,
    YOLOv1Head,
    YOLOv2Head,
    YOLOv3Head,
    YOLOv4Head,
)
from detkit.structures import Detections
from detkit.testing import ContractError, check_head

CHANNELS, STRIDES, CLASSES = [6, 6, 6], [8, 16, 32], 3
ANCHORS = [[(8.0, 10.0), (14.0, 9.0)], [(20.0, 24.0), (30.0, 18.0)], [(44.0, 60.0), (90.0, 70.0)]]
SMALL = {"trunk": partial(TwoFullyConnected, hidden=16)}

DENSE = {
    "retinanet": partial(RetinaNetHead, convolutions=1),
    "retinanet with background": partial(RetinaNetHead, convolutions=1, background_logit=True),
    "fcos": partial(FCOSHead, convolutions=1),
    "ssd": partial(SSDHead, sizes=[14, 24, 40, 64]),
    "ssdlite": partial(SSDliteHead, sizes=[14, 24, 40, 64]),
    "yolo_v1": partial(YOLOv1Head, side=3, hidden=8),
    "yolo_v3": partial(YOLOv3Head, anchors=ANCHORS),
    "yolo_v4": partial(YOLOv4Head, anchors=ANCHORS),
    "overfeat": partial(OverFeatHead, window=1, class_hidden=(8,), box_hidden=(8,)),
}
VOXELS = partial(VoxelHead, 6, CLASSES, channels=8, convolutions=1, resolution=3)
BRANCHES = {
    "box": partial(BoxHead, 6, 7, CLASSES, **SMALL),
    "agnostic box": partial(BoxHead, 6, 7, CLASSES, class_agnostic=True, **SMALL),
    "box on convolutions": partial(
        BoxHead, 6, 7, CLASSES, trunk=partial(ConvolutionsThenFullyConnected, channels=8, convolutions=1, hidden=8)
    ),
    "svm": partial(SVMBoxHead, 6, 7, CLASSES, **SMALL),
    "cascade": partial(BoxCascade, 6, 7, CLASSES, box_head=partial(BoxHead, **SMALL), ious=(0.5, 0.6, 0.7)),
    "mask": partial(MaskHead, 6, CLASSES, channels=8, convolutions=1, resolution=7),
    "mask in runs": partial(MaskHead, 6, CLASSES, channels=8, convolutions=1, resolution=7, run_lengths=True),
    "keypoint": partial(KeypointHead, 6, CLASSES, num_keypoints=4, channels=8, convolutions=1, resolution=7),
    "depth": partial(DepthHead, 6, CLASSES, hidden=8),
    "voxel": VOXELS,
    "voxel of points": partial(VOXELS, truth="voxels"),
}
CHAINED = {
    "voxel": VOXELS,
    "mesh": partial(MeshHead, 6, CLASSES, channels=8, samples=100),
    "mesh of a sphere": partial(MeshHead, 6, CLASSES, channels=8, samples=100, sphere_level=0, subdivide=True),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Like others of their family.
LIKE = {
    "retinanet with background", "ssdlite", "yolo_v3", "agnostic box", "box on convolutions", "mask in runs",
    "voxel of points", "mesh of a sphere",
}  # fmt: skip


class TestOursPass:
    @pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE)) for name in DENSE])
    def test_dense(self, name):
        size = (96, 96) if name == "yolo_v1" else (96, 128)
        check_head(DENSE[name](CHANNELS, STRIDES, CLASSES), CHANNELS, STRIDES, CLASSES, size)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [RetinaNetHead, FCOSHead])
    def test_deep_towers_and_many_classes(self, kind):
        check_head(kind([16] * 3, STRIDES, 20), [16] * 3, STRIDES, 20)

    def test_of_one_map(self):
        check_head(YOLOv2Head([6], [32], CLASSES, [ANCHORS[2]]), [6], [32], CLASSES)

    @pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE)) for name in BRANCHES]
    )
    def test_branches(self, name):
        check_head(BRANCHES[name](), [6], [8], CLASSES)

    @pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE)) for name in CHAINED]
    )
    def test_branches_that_read_others(self, name):
        before = {"depth": BRANCHES["depth"](), "voxel": VOXELS()}
        head = CHAINED[name]()
        for stage in head.refinement.stages if isinstance(head, MeshHead) else ():
            nn.init.normal_(stage.offset.weight, std=0.01)  # as 0, they let no gradient through at first
        check_head(head, [6], [8], CLASSES, before=before)

    @pytest.mark.parametrize("kind", [ClassificationHead, partial(LocalizationHead, hidden=8)])
    def test_of_images(self, kind):
        check_head(kind(6, CLASSES), [6], [16], CLASSES)


def inside(points, boxes):
    """Which points ``(P, 2)`` lie in which boxes ``(N, 4)``: bool ``(P, N)``."""
    return ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(dim=2)


class Dense(DenseHead):
    """What the mutants change: a sigmoid for each class and a box at each cell."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Conv2d(6, 8, 1)
        self.classes, self.boxes = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, 4, 1)
        self.postprocess = NMS(score_threshold=0.05, iou_threshold=0.5, detections=50)

    def forward(self, features, context):
        hidden = self.hidden(features[0]).relu()
        return self.classes(hidden), self.boxes(hidden)

    def losses(self, raw, context):
        logits, boxes = (one.flatten(2).transpose(1, 2) for one in raw)
        rows = self.assign(raw, context).view(logits.shape[:2])
        objects, learned = context.objects, rows != -2
        expected = torch.zeros_like(logits)
        expected[rows >= 0] = one_hot(objects.labels[rows[rows >= 0]], CLASSES).to(expected)
        classes = binary_cross_entropy_with_logits(logits.float(), expected.float(), reduction="none")
        distance = (self.decoded(raw)[rows >= 0] - objects.boxes[rows[rows >= 0]]).abs()
        count = max(1, int((rows >= 0).sum()))
        return {"cls": (classes * learned[..., None]).sum() / count, "box": distance.sum() / count + 0 * boxes.sum()}

    def decoded(self, raw):
        boxes = raw[1].float().flatten(2).transpose(1, 2)
        height, width = raw[1].shape[-2:]
        y, x = (torch.arange(side, device=boxes.device) for side in (height, width))
        y, x = torch.meshgrid(y, x, indexing="ij")
        centers = 8 * torch.stack((x, y), dim=2).flatten(0, 1) + 4.0
        return torch.cat((centers - 8 - boxes[..., :2].relu(), centers + 8 + boxes[..., 2:].relu()), dim=2)

    def assign(self, raw, context):
        centers = self.decoded((raw[0], 0 * raw[1])).unflatten(2, (2, 2)).mean(dim=2)[0]
        rows, before = [], 0
        for target in context.truth:
            if target.boxes is None:
                rows.append(torch.full((len(centers),), -2, device=centers.device))
                continue
            objects, crowds = inside(centers, target.objects().boxes), inside(centers, target.ignored_boxes())
            others = torch.where(crowds.any(dim=1), -2, -1)
            first = (
                torch.cat((objects, torch.ones(len(centers), 1, device=centers.device)), dim=1).argmax(dim=1) + before
            )
            rows.append(torch.where(objects.any(dim=1), first, others))
            before += objects.shape[1]
        return torch.cat(rows)

    def candidates(self, raw, context):
        boxes, logits = self.decoded(raw), raw[0].flatten(2).transpose(1, 2)
        images = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        return Candidates(boxes.flatten(0, 1), logits.flatten(0, 1), None, images)

    @torch.no_grad()
    def decode(self, raw, context):
        candidates = self.candidates(raw, context)
        scores = candidates.scores()
        row, label = torch.where(self.postprocess.above_threshold(scores))
        images = candidates.image_index[row]
        scored = candidates.boxes[row], scores[row, label], label, images
        return context.batch.restore(self.postprocess(*scored, context.batch.sizes))


class ChangedLosses(Dense):
    def changed(self, losses, raw, context):
        raise NotImplementedError

    def losses(self, raw, context):
        return self.changed(super().losses(raw, context), raw, context)


class KeysOfObjects(ChangedLosses):
    def changed(self, losses, raw, context):
        return losses if len(context.objects.boxes) else {"cls": losses["cls"]}


class Vectors(ChangedLosses):
    def changed(self, losses, raw, context):
        return {name: loss[None] for name, loss in losses.items()}


class OneTensor(ChangedLosses):
    def changed(self, losses, raw, context):
        return sum(losses.values())


class DividesByNothing(ChangedLosses):
    def changed(self, losses, raw, context):
        return {**losses, "box": losses["box"] / len(context.objects.boxes)}


class NumbersWithoutObjects(ChangedLosses):
    def changed(self, losses, raw, context):
        return losses if len(context.objects.boxes) else {name: torch.zeros(()) for name in losses}


class BoxesUnattached(Dense):
    def losses(self, raw, context):
        rows = self.assign(raw, context)
        losses = super().losses((raw[0], raw[1].detach()), context)
        return losses | {"box": losses["box"] + (raw[1].sum() * 0 if (rows >= 0).any() else 0)}


class NoneIsBackground(ChangedLosses):
    def changed(self, losses, raw, context):
        return {**losses, "cls": losses["cls"] + raw[0].sigmoid().mean()}


class LearnsNotAnnotated(ChangedLosses):
    def changed(self, losses, raw, context):
        known = any(target.boxes is not None for target in context.truth)
        return {**losses, "cls": losses["cls"] + known * raw[0].sigmoid().mean()}


class ByMode(ChangedLosses):
    def changed(self, losses, raw, context):
        return {**losses, "cls": losses["cls"] * (1 + self.training)}


class GlobalRandom(ChangedLosses):
    def changed(self, losses, raw, context):
        return {**losses, "cls": losses["cls"] * torch.rand(())}


class WrongSign(ChangedLosses):
    def changed(self, losses, raw, context):
        return {name: 2 * loss.detach() - loss for name, loss in losses.items()}


class InPlace(Dense):
    def forward(self, features, context):
        with torch.no_grad():
            features[0] += 1
        return super().forward(features, context)


class NeedsObjects(ChangedLosses):
    def changed(self, losses, raw, context):
        return {**losses, "first": context.objects.boxes[0, 0] * 0 + 0 * raw[0].sum()}


class PlainTensor(Dense):
    def __init__(self):
        super().__init__()
        self.weights = torch.ones(CLASSES)


class ChangedAnswers(Dense):
    def decode(self, raw, context):
        return [self.changed(one) for one in super().decode(raw, context)]


class WorstFirst(ChangedAnswers):
    def changed(self, answer):
        return answer[torch.arange(len(answer)).flip(0)]


class Logits(ChangedAnswers):
    def changed(self, answer):
        return replace(answer, scores=answer.scores * 7)


class BackgroundAsLabel(ChangedAnswers):
    def changed(self, answer):
        return replace(answer, labels=answer.labels + 1)


class NetworkFrame(Dense):
    def decode(self, raw, context):
        identity = [Placement.identity(size) for size in context.batch.sizes]
        return super().decode(raw, replace(context, batch=replace(context.batch, placements=identity)))


class ShrunkNetworkFrame(NetworkFrame):
    def decode(self, raw, context):
        return [replace(one, boxes=one.boxes / 2) for one in super().decode(raw, context)]


class OneAnswer(Dense):
    def decode(self, raw, context):
        return super().decode(raw, context)[:1]


class AnswersByMode(Dense):
    def decode(self, raw, context):
        return super().decode(raw, context) if not self.training else [Detections.empty()] * 2


class LooksAtTargets(Dense):
    def decode(self, raw, context):
        return super().decode(raw, context) if context.targets is None else [Detections.empty()] * 2


class AcrossImages(Dense):
    def forward(self, features, context):
        return super().forward([features[0] - features[0].mean()], context)


class NotDifferentiable(Dense):
    @torch.no_grad()
    def candidates(self, raw, context):
        return super().candidates(raw, context)


class WithBackground(Dense):
    def candidates(self, raw, context):
        candidates = super().candidates(raw, context)
        return replace(candidates, logits=torch.cat((candidates.logits, candidates.logits[:, :1]), dim=1))


class RowsOfTheImage(Dense):
    def assign(self, raw, context):
        rows = super().assign(raw, context)
        return torch.where(rows >= 4, rows - 4, rows)


class OnTheCpu(Dense):
    def decoded(self, raw):
        return super().decoded(raw) + torch.zeros(4)


class FloatRows(Dense):
    def assign(self, raw, context):
        return super().assign(raw, context).int()


def test_the_mutants_are_of_a_sound_one():
    check_head(Dense(), [6], [8], CLASSES)


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (KeysOfObjects, r"gives \['cls'\], but \['box', 'cls'\] before"),
        (Vectors, r"cls must be a floating-point tensor without dimensions: got a tensor \(1,\)"),
        (OneTensor, r"must be a dict of at least one named scalar"),
        (DividesByNothing, r"batch with crowds alone: box is nan, which is not finite"),
        (NumbersWithoutObjects, r"batch with crowds alone is not attached to the graph"),
        (BoxesUnattached, r"batch with crowds alone is not attached to boxes.weight, boxes.bias"),
        (NoneIsBackground, r"every field is None, must be 0, since None teaches nothing"),
        (LearnsNotAnnotated, r"an image that is not annotated has a gradient in its maps"),
        (ByMode, r"in eval mode and .* in training mode"),
        (GlobalRandom, r"draw whatever is random from context.generator"),
        (WrongSign, r"does not overfit one batch"),
        (InPlace, r"forward changes the maps"),
        (NeedsObjects, r"batch with crowds alone raises IndexError"),
        (PlainTensor, r"the tensor weights is a plain attribute"),
        (WorstFirst, r"sorted by score, best first"),
        (Logits, r"scores must lie in \[0, 1\]"),
        (BackgroundAsLabel, r"labels must lie in 0..2"),
        (NetworkFrame, r"boxes must lie in the image as it was given, 48 x 64 pixels"),
        (ShrunkNetworkFrame, r"of one twice as large twice as far"),
        (OneAnswer, r"one answer for each image: got 1 for 2"),
        (AnswersByMode, r"decode depends on self.training"),
        (LooksAtTargets, r"decode depends on context.targets"),
        (AcrossImages, r"the answer for an image depends on the others|an image that is not annotated"),
        (NotDifferentiable, r"must be differentiable"),
        (WithBackground, r"scores\(\) must be \(384, 3\) in \[0, 1\], got \(384, 4\)"),
        (RowsOfTheImage, r"candidates of image 1 may have .* rows of its own objects among those of the batch"),
        (
            OnTheCpu,
            r"on a GPU, with objects raises RuntimeError: Expected all tensors to be on the same device",
        ),
        (FloatRows, r"must give int64 \(384,\), a row for each candidate"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_the_broken_rule(mutant, words):
    with pytest.raises(ContractError, match=words):
        check_head(mutant(), [6], [8], CLASSES)


class MasksOfTheNetwork(MaskHead):
    def decode(self, raw, regions, so_far, detections, context):
        return [replace(one, masks=torch.zeros(len(one), *context.batch.sizes[0], dtype=torch.bool))
                for one in detections]  # fmt: skip


class Reorders(MaskHead):
    def decode(self, raw, regions, so_far, detections, context):
        return [replace(one, scores=one.scores / 2) for one in detections]


class NeedsRegions(MaskHead):
    def losses(self, raw, regions, so_far, context):
        return {"mask": super().losses(raw, regions, so_far, context)["mask"] + raw[0].sum() * 0}


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (MasksOfTheNetwork, r"masks must have the \(48, 64\) pixels of the image as it was given, got \(96, 128\)"),
        (Reorders, r"a branch on given detections keeps them in their order"),
        (NeedsRegions, r"batch with crowds alone raises IndexError"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_the_broken_rule_of_a_branch(mutant, words):
    with pytest.raises(ContractError, match=words):
        check_head(mutant(6, CLASSES, channels=8, convolutions=1, resolution=7), [6], [8], CLASSES)


def halved(decode):
    """Boxes half as far."""
    return lambda *args: [replace(one, boxes=one.boxes / 2) for one in decode(*args)]


def shifted(decode):
    """Labels one too high, within their range."""
    return lambda *args: [replace(one, labels=(one.labels + 1) % CLASSES) for one in decode(*args)]


def of_equal_scales(decode):
    """Boxes moved back by the scale along x alone, without the border."""

    def changed(*args):
        context = args[-1]
        height, width = context.batch.padded_size
        given = [(height * size[1] // width, size[1]) for size in context.batch.given_sizes]
        placements = [Placement.resize(size, (height, width)) for size in given]
        return decode(*args[:-1], replace(context, batch=replace(context.batch, placements=placements)))

    return changed


def nothing(decode):
    """No detections at all."""
    return lambda *args: [one[:0] for one in decode(*args)]


def all_in_the_first(decode):
    """Detections of the first image alone."""
    return lambda *args: [one if image == 0 else one[:0] for image, one in enumerate(decode(*args))]


def mutant_of(head, change):
    kind = type(head)
    decode = kind.decode
    changed = type(f"{kind.__name__}", (kind,), {"decode": lambda self, *args: change(partial(decode, self))(*args)})
    head.__class__ = changed
    globals()[kind.__name__ + "Mutant"] = changed  # found by pickle
    changed.__qualname__, changed.__module__ = kind.__name__ + "Mutant", __name__
    return head


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (halved, r"finds 0 of 6 objects \(no box overlaps the object of label"),
        (shifted, r"but gives \d of them their label \(the object of label \d at .* gets label"),
        (of_equal_scales, r"finds \d of 6 objects"),
        (nothing, r"decode returns no detections, after learning one batch"),
        (all_in_the_first, r"finds \d of 6 objects"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
class TestWrongDecodingOfWhatWasLearned:
    def test_of_a_dense_head(self, change, words):
        head = mutant_of(FCOSHead([6], [8], CLASSES, convolutions=1), change)
        with pytest.raises(ContractError, match=words):
            check_head(head, [6], [8], CLASSES, overfit_steps=50)

    def test_of_a_box_branch(self, change, words):
        head = mutant_of(BoxHead(6, 7, CLASSES, **SMALL), change)
        with pytest.raises(ContractError, match=words):
            check_head(head, [6], [8], CLASSES, overfit_steps=50)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (ClassificationHead, shifted, r"gives images of the labels \[0, 1\] the labels \[1, 2\]"),
        (partial(LocalizationHead, hidden=8), shifted, r"but gives 0 of them their label"),
        (partial(LocalizationHead, hidden=8), halved, r"finds \d of 2 objects"),
    ],
)
def test_wrong_decoding_of_a_head_of_images(kind, change, words):
    with pytest.raises(ContractError, match=words):
        check_head(mutant_of(kind(6, CLASSES), change), [6], [16], CLASSES, overfit_steps=50)


def test_a_module_is_no_head():
    with pytest.raises(ContractError, match="got Linear, derive it from one of them"):
        check_head(nn.Linear(1, 1), [6], [8], CLASSES)
