"""The flow of whole-image segmentation: losses, answers at the size of the given images, and bad input."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import FCNHead
from detkit.heads.pixel.criteria import CrossEntropy
from detkit.models import SegmentationModel
from detkit.models.pixel.inference import Whole
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, Square
from detkit.structures import SemanticMap, Target

SIZES = [(50, 70), (64, 48)]
PREPROCESSES = [OriginalSize(), OriginalSize(divisor=32), ShortestEdge(40, 80), Square(48), Letterbox((64, 64))]


def make_model(num_classes=5, preprocess=None, **options):
    torch.manual_seed(0)
    backbone = TorchvisionBackbone("resnet18", stages=[2, 3])
    return SegmentationModel(backbone, num_classes, partial(FCNHead, **options), preprocess=preprocess).eval()


def make_images():
    return [torch.rand(3, *size) for size in SIZES]


def make_targets(num_classes=5, cell=16):
    """Blocks of classes, which coarse logits can express."""
    maps = []
    for height, width in SIZES:
        cells = torch.randint(0, num_classes, (height // cell + 1, width // cell + 1), dtype=torch.uint8)
        maps.append(cells.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:height, :width].contiguous())
    return [Target(label_map=one) for one in maps]


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=lambda one: type(one).__name__)
def test_answers_have_the_size_of_the_given_images(preprocess):
    answers = make_model(preprocess=preprocess)(make_images())
    assert [tuple(answer.label_map.shape) for answer in answers] == SIZES
    assert all(isinstance(answer, SemanticMap) and answer.label_map.dtype == torch.uint8 for answer in answers)
    assert all(int(answer.label_map.max()) < 5 for answer in answers)


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=lambda one: type(one).__name__)
def test_ideal_logits_give_the_label_map_back_where_cells_hold_one_class(preprocess):
    model, targets = make_model(preprocess=preprocess), make_targets()
    context = model.context(make_images(), targets)
    raw = model.heads(model.features(context.batch), context)
    answers = model.decode(model.head.ideal(raw, context), context)
    for answer, target in zip(answers, targets, strict=True):
        assert (answer.label_map == target.label_map).float().mean() > 0.75
    exact = raw._replace(logits=F.interpolate(raw.logits, size=context.batch.padded_size))
    answers = model.decode(model.head.ideal(exact, context), context)
    least = 1.0 if isinstance(preprocess, OriginalSize) else 0.9
    assert all(
        (one.label_map == target.label_map).float().mean() >= least
        for one, target in zip(answers, targets, strict=True)
    )


def test_pixels_that_the_network_does_not_see_have_no_class():
    model = make_model(preprocess=CenterCrop((32, 32), shorter_side=50))
    (label_map,) = (answer.label_map for answer in model([torch.rand(3, 50, 70)]))
    assert (label_map[9:41, 19:51] != 255).all()
    assert int((label_map != 255).sum()) == 32 * 32


def test_logits_are_put_back_before_the_best_class_is_chosen():
    model, image = make_model(preprocess=ShortestEdge(40, 80)), make_images()[0]
    context = model.context([image])
    raw = model.heads(model.features(context.batch), context)
    logits = F.interpolate(raw.logits, size=context.batch.padded_size, mode="bilinear")
    height, width = context.batch.sizes[0]
    own = F.interpolate(logits[:, :, :height, :width], size=SIZES[0], mode="bilinear")
    assert torch.equal(model([image])[0].label_map, own[0].argmax(dim=0).to(torch.uint8))


@pytest.mark.parametrize("preprocess", [OriginalSize(), OriginalSize(divisor=32), ShortestEdge(40, 80)])
def test_an_answer_does_not_depend_on_the_other_images_of_the_batch(preprocess):
    model, images = make_model(preprocess=preprocess), [*make_images(), torch.rand(3, 50, 70), torch.rand(3, 90, 90)]
    model.inference = Whole()
    for together, image in zip(model(images), images, strict=True):
        alone = model([image])[0].label_map
        assert (together.label_map == alone).float().mean() > 0.999  # sums of another order


def test_the_loss_is_the_mean_cross_entropy_of_the_pixels_with_a_class():
    model, targets = make_model(), make_targets()
    targets[0].label_map[:20] = 255
    context = model.context(make_images(), targets)
    raw = model.heads(model.features(context.batch), context)
    logits = F.interpolate(raw.logits, size=context.batch.padded_size, mode="bilinear").double()
    expected = []
    for row, target in enumerate(targets):
        height, width = target.label_map.shape
        for y, x in [(y, x) for y in range(height) for x in range(width) if target.label_map[y, x] != 255]:
            expected.append(-logits[row, :, y, x].log_softmax(0)[int(target.label_map[y, x])])
    assert model.losses(raw, context)["semantic"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_logits_of_low_precision_are_resized_in_float32_for_losses():
    model, targets = make_model(), make_targets()
    context = model.context(make_images(), targets)
    raw = model.heads(model.features(context.batch), context)
    logits = [raw.logits.detach().to(dtype).requires_grad_() for dtype in (torch.bfloat16, torch.float64)]
    logits[1].data.copy_(logits[0].data)
    losses = [model.losses(raw._replace(logits=one), context)["semantic"] for one in logits]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    own, exact = (torch.autograd.grad(loss, one)[0] for loss, one in zip(losses, logits, strict=True))
    assert torch.allclose(own.double(), exact, rtol=2**-7, atol=1e-7)  # rounded once, to bfloat16


def test_class_weights_weight_the_mean_as_in_torch():
    weights = [0.5, 2.0, 1.0, 0.0, 3.0]
    logits, labels = torch.randn(2, 5, 6, 7), torch.randint(-1, 5, (2, 6, 7))
    expected = F.cross_entropy(logits, labels, torch.tensor(weights), ignore_index=-1)
    assert torch.allclose(CrossEntropy(weights)(logits, labels), expected)


def test_auxiliary_logits_count_half_unless_a_weight_is_given():
    images, targets = make_images(), make_targets()
    backbone = TorchvisionBackbone("resnet18", stages=[2, 3])
    losses = []
    for weights in (None, {"auxiliary": 1.0}, {"semantic": 1.0}):
        torch.manual_seed(0)
        auxiliary = {"c2": partial(FCNHead, level=0)}
        model = SegmentationModel(backbone, 5, FCNHead, loss_weights=weights, auxiliary=auxiliary).eval()
        losses.append(model(images, targets)["auxiliary.c2.semantic"].item())
    assert losses[0] == losses[2] == pytest.approx(losses[1] / 2)


def test_an_image_that_is_not_annotated_teaches_nothing():
    model, targets = make_model(), [Target(), Target()]
    losses = model.train()(make_images(), targets)
    losses["semantic"].backward()
    assert losses["semantic"] == 0
    assert all(float(one.grad.abs().sum()) == 0 for one in model.parameters())


def test_more_than_254_classes_take_int16():
    answers = make_model(num_classes=255)(make_images())
    assert answers[0].label_map.dtype == torch.int16


def test_a_class_that_the_model_does_not_have_is_named():
    targets = make_targets()
    targets[1].label_map[3, 4] = 7
    with pytest.raises(InputError, match=r"targets\[1\].*class 7.*0\.\.4"):
        make_model()(make_images(), targets)


@pytest.mark.parametrize(("value", "named"), [(-3, -3), (300, 300)])
def test_any_class_that_there_is_not_is_named(value, named):
    label_map = torch.zeros(50, 70, dtype=torch.int16)
    label_map[0, 0], label_map[1, 1] = value, -1
    images, targets = make_images(), [Target(label_map=label_map), Target()]
    with pytest.raises(InputError, match=rf"targets\[0\].*label_map has the class {named},.*0\.\.254.*write -1"):
        make_model(num_classes=255)(images, targets)
    panoptic_map = torch.where(label_map == -1, -1, label_map.int() * 65536 + 7)
    with pytest.raises(InputError, match=rf"targets\[0\].*panoptic_map has the class {named},.*0\.\.254"):
        make_model(num_classes=255)(images, [Target(panoptic_map=panoptic_map), Target()])


def test_a_map_of_another_size_is_named():
    with pytest.raises(InputError, match=r"targets\[0\].*label_map.*\(50, 70\)"):
        make_model()(make_images(), [Target(label_map=torch.zeros(4, 4, dtype=torch.uint8)), Target()])
