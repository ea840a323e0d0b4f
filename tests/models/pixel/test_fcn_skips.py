"""FCN-32s, FCN-16s and FCN-8s: their sizes, the crops of the authors, and what their sums are."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detkit.backbones import ConvolutionalVGG16, TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import Context, ScoreSkipHead
from detkit.models import FCN8s, FCN16s, FCN32s, with_classes
from detkit.preprocess import Batch

SIZES = [(33, 41), (1, 1), (64, 50), (7, 100)]


def bilinear(size):
    """The weights of the authors' ``surgery.py``: a triangle of ``size`` cells."""
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    along = 1 - (torch.arange(size, dtype=torch.float64) - center).abs() / factor
    return along[:, None] * along


def authors(head, maps, size):
    """The layers of ``voc-fcn8s/net.py`` and its siblings, by number: crops of 5 and 9, then of 19, 27 or 31."""
    skips, classes = head.skips, head.num_classes

    def up(x, kernel, stride):
        weight = torch.zeros(classes, classes, kernel, kernel, dtype=x.dtype)
        weight[range(classes), range(classes)] = bilinear(kernel)
        return F.conv_transpose2d(x, weight, stride=stride)

    score = head.scores[0](maps[-1])
    for index, (offset, pooled) in enumerate(zip((5, 9), (maps[-2], maps[-3]), strict=True)):
        if index < skips:
            up2 = up(score, 4, 2)
            own = head.scores[index + 1](pooled * head.skip_scales[index])
            score = up2 + own[..., offset : offset + up2.shape[2], offset : offset + up2.shape[3]]
    stride = (32, 16, 8)[skips]
    offset = (19, 27, 31)[skips]
    return up(score, 2 * stride, stride)[..., offset : offset + size[0], offset : offset + size[1]]


@pytest.mark.parametrize("kind", [FCN32s, FCN16s, FCN8s])
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_those_of_the_authors_layers(kind, size):
    torch.manual_seed(torch.seed() % 2**31)
    scales = [0.01, 0.0001][: kind.skips]
    model = kind(ConvolutionalVGG16(1 / 64), 3, skip_scales=scales).double().eval()
    for layer in model.head.scores:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    raw = model.raw(images)
    assert raw.logits.shape == (2, 3, *size)
    assert torch.allclose(raw.logits, authors(model.head, model.backbone(images), size), rtol=1e-10)


@pytest.mark.parametrize("kind", [FCN32s, FCN16s, FCN8s])
def test_the_full_nets_have_the_papers_parameters(kind):
    with torch.device("meta"):
        model = kind(ConvolutionalVGG16(), 21)
    # VGG-16 without the layer of ImageNet's classes (Simonyan 2014: 138,357,544 with it), and scores.
    vgg = 138_357_544 - 1000 * 4097
    scores = sum(21 * (count + 1) for count in (4096, 512, 256)[: kind.skips + 1])
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert trained == vgg + scores
    assert model.raw(torch.empty(1, 3, 375, 500, device="meta")).logits.shape == (1, 21, 375, 500)


@pytest.mark.parametrize("size", [(128, 160), (97, 161)])
def test_cells_of_any_backbone_lie_over_each_other(size):
    """Scores that are linear in the position stay so, away from the border, whatever is upsampled and summed."""
    strides, height, width = [8, 16, 32], *size
    head = ScoreSkipHead([1, 1, 1], strides, 1).double()
    for layer in head.scores:
        nn.init.ones_(layer.weight)
    maps = []
    for stride in strides:
        x = (torch.arange(-(-width // stride), dtype=torch.float64) + 0.5) * stride
        maps.append(x.expand(1, 1, -(-height // stride), -1))
    logits = head(maps, Context(Batch(torch.zeros(1, 3, *size)))).logits
    assert logits.shape == (1, 1, *size)
    # The triangles of the upsampling add up to 1 only inside, half a cell of all three from the border.
    inside = logits[0, 0, 32 : height // 32 * 32 - 32, 32 : width // 32 * 32 - 32]
    expected = 3 * (torch.arange(32, 32 + inside.shape[1], dtype=torch.float64) + 0.5)
    assert inside.numel() > 0
    assert torch.allclose(inside, expected.expand_as(inside))


def test_learned_upsampling_learns_and_the_last_layer_stays():
    model = FCN8s(ConvolutionalVGG16(1 / 64), 3, learned_upsampling=True)
    assert [one.weight.requires_grad for one in (*model.head.upscore2, model.head.upscore)] == [True, True, False]
    for layer in model.head.scores:
        nn.init.normal_(layer.weight)
    model.raw(torch.rand(1, 3, 33, 41)).logits.square().sum().backward()
    assert all(one.weight.grad.abs().sum() > 0 for one in model.head.upscore2)


def test_other_classes_keep_their_kernels():
    model = FCN16s(ConvolutionalVGG16(1 / 64), 3, learned_upsampling=True)
    model.categories = ["sky", "road", "car"]
    for layer in (*model.head.scores, *model.head.upscore2):
        nn.init.normal_(layer.weight)
    other = with_classes(model, ["car", "tree", "sky", "fence"])
    assert torch.equal(other.head.scores[0].weight[[0, 2]], model.head.scores[0].weight[[2, 0]])
    assert torch.equal(other.head.upscore2[0].weight[[0, 2]], model.head.upscore2[0].weight[[2, 0]])
    assert torch.equal(other.head.upscore2[0].weight[1, 0].double(), bilinear(4))
    assert other.raw(torch.rand(1, 3, 33, 41)).logits.shape == (1, 4, 33, 41)


def test_any_backbone_takes_the_skips():
    model = FCN8s(TorchvisionBackbone("resnet18", stages=[3, 4, 5]), 4)
    assert model.raw(torch.rand(2, 3, 33, 41)).logits.shape == (2, 4, 33, 41)


def test_poolings_that_round_down_leave_no_pixel_without_scores():
    model = FCN32s(TorchvisionBackbone("vgg11", stages=[5]), 2)
    batch = model.preprocess([torch.rand(3, 33, 60)])
    assert batch.padded_size == (64, 64)
    assert model.raw(batch.images).logits.shape == (1, 2, 64, 64)
    assert model.predict(torch.rand(3, 33, 60)).label_map.shape == (33, 60)


def test_skips_that_there_are_not_are_refused():
    with pytest.raises(InputError, match=r"2 skips need more maps than that"):
        FCN8s(TorchvisionBackbone("resnet18", stages=[4, 5]), 4)
    with pytest.raises(InputError, match=r"each stride must be twice the one before, got \[4, 16, 32\]"):
        ScoreSkipHead([8, 8, 8], [4, 16, 32], 4)
