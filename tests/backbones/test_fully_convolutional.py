"""Dense nets, with the classifier on crops of the image as the witness."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from detkit.backbones import ChainBackbone, classifier, dense_logits, fully_convolutional
from detkit.errors import InputError


def small_chain(pooling, padding=0, stride=2, cells=3, size=None, classes=4):
    """A narrow chain of the make of OverFeat: `pooling` is the last one's (window, step)."""
    layers = [
        nn.Conv2d(3, 8, 5, stride=stride),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(8, 12, 3, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(*pooling),
    ]
    window, step = pooling
    last_map = (cells - 1) * step + window
    size = size or ((last_map + 2 - 2 * padding) * 2 - 1) * stride + 5
    return ChainBackbone(nn.Sequential(*layers), cells, (20, 16), size, classes, None, [2]).eval()


def crops_classified(net, images, size, stride, grid):
    """The logits of every crop, ``(B, K, *grid)``."""
    crops = images.unfold(2, size, stride).unfold(3, size, stride)[:, :, : grid[0], : grid[1]]
    logits = net(crops.permute(0, 2, 3, 1, 4, 5).flatten(0, 2))
    return logits.unflatten(0, (len(images), *grid)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(
    ("pooling", "offset_pooling"), [((3, 3), False), ((3, 3), True), ((3, 2), True), ((2, 2), True)]
)
def test_without_padding_every_position_is_the_classifier_on_its_crop(pooling, offset_pooling, seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = small_chain(pooling, stride=1 + seed % 2)
    dense = fully_convolutional(net, offset_pooling=offset_pooling)
    size = net.training_size
    height, width = (size + int(torch.randint(10, 40, (), generator=generator)) for _ in range(2))
    images = torch.rand(2, 3, height, width, generator=generator)
    with torch.no_grad():
        result = dense(images)
        grid = result.shape[2:]
        expected = crops_classified(net.as_classifier(), images, size, dense.stride, grid)
    unpooled = 2 * (1 + seed % 2)
    assert dense.stride == unpooled * (1 if offset_pooling else pooling[1])
    assert grid == ((height - size) // dense.stride + 1, (width - size) // dense.stride + 1)
    assert min(grid) > 1
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    assert expected.std(dim=(2, 3)).min() > 1e-4


def test_offset_pooling_is_what_the_paper_defines():
    """Pool and classify at each of the nine offsets, and interleave (Sermanet 2013, figure 3)."""
    torch.manual_seed(0)
    net = small_chain((3, 3), padding=1, cells=5)
    dense = fully_convolutional(net, offset_pooling=True)
    images = torch.rand(1, 3, 131, 122)
    with torch.no_grad():
        result = dense(images)
        unpooled = net.features[:-1](images)
        expected = torch.full_like(result, torch.nan)
        for dy in range(3):
            for dx in range(3):
                pooled = F.max_pool2d(unpooled[:, :, dy:, dx:], 3, 3)
                for i in range(pooled.shape[2] - 4):
                    for j in range(pooled.shape[3] - 4):
                        logits = net.classifier(pooled[:, :, i : i + 5, j : j + 5].flatten(1))
                        expected[:, :, 3 * i + dy, 3 * j + dx] = logits
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "height", "width"), [("alexnet", 300, 355), ("squeezenet1_1", 290, 243)])
def test_with_padding_positions_are_the_last_layers_on_windows_of_the_map(name, height, width):
    torch.manual_seed(5)
    net = getattr(torchvision.models, name)(weights=None, num_classes=7).eval()
    dense = fully_convolutional(net)
    images = torch.rand(1, 3, height, width)
    with torch.no_grad():
        dense_map, map_ = dense(images), net.features(images)
        cells = net.features(images[:, :, :224, :224]).shape[-1]
        for i in range(dense_map.shape[2]):
            for j in range(dense_map.shape[3]):
                window = map_[:, :, i : i + cells, j : j + cells]
                last = net.classifier(net.avgpool(window).flatten(1)) if name == "alexnet" else net.classifier(window)
                torch.testing.assert_close(dense_map[:, :, i, j], last.flatten(1), rtol=1e-5, atol=1e-6)
    assert min(dense_map.shape[2:]) >= 2


def test_a_real_net_without_its_padding_equals_its_crops():
    torch.manual_seed(6)
    net = torchvision.models.alexnet(weights=None, num_classes=5).eval()
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    size = 355  # 87, 43, 39, 19, 17, 15, 13, 6 cells: at this size the average pooling is the identity again
    dense = fully_convolutional(net, size)
    images = torch.rand(1, 3, size + 70, size + 33)
    with torch.no_grad():
        result = dense(images)
        expected = crops_classified(net, images, size, 32, result.shape[2:])
    assert dense.stride == 32
    assert result.shape[2:] == (3, 2)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "squeezenet1_1",
        "resnet18",
        "alexnet_two_towers",
        "zfnet",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg11_bn", "mobilenet_v2")),
    ],
)
def test_at_the_size_of_training_both_agree(name):
    torch.manual_seed(7)
    net = classifier(name, 6).eval()
    size = getattr(net, "training_size", 224)
    images = torch.rand(1, 3, size, size)
    dense = fully_convolutional(net)
    with torch.no_grad():
        result = dense(images)
        torch.testing.assert_close(result[:, :, 0, 0], net(images), rtol=0, atol=1e-5)
    assert result.shape == (1, 6, 1, 1)
    assert dense.training_size == (size, size)
    assert not any(isinstance(module, nn.Linear) for module in dense.modules())
    names = dict(net.named_parameters())
    assert dict(dense.named_parameters()).keys() == names.keys()
    assert all(parameter.numel() == names[name].numel() for name, parameter in dense.named_parameters())


def test_the_original_is_left_alone_and_the_mode_is_kept():
    net = small_chain((3, 3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    dense = fully_convolutional(net)
    assert dense.training
    assert dense.classifier.get_submodule("0").training
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.zero_()
    assert isinstance(net.classifier[1], nn.Linear)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_flat_batch_norm_and_other_ways_to_flatten():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2)
            self.hidden, self.norm = nn.Linear(4 * 7 * 9, 6, bias=False), nn.BatchNorm1d(6)
            self.last = nn.Linear(6, 3)

        def forward(self, images):
            x = self.conv(images)
            return self.last(F.relu(self.norm(self.hidden(x.view(x.size(0), -1)))).flatten(1))

    torch.manual_seed(8)
    net = Net().eval()
    net.norm.running_mean.normal_()
    dense = fully_convolutional(net, (15, 19))
    images = torch.rand(2, 3, 20, 24)
    with torch.no_grad():
        result = dense(images)
        for i in range(3):
            for j in range(3):
                expected = net(images[:, :, 2 * i : 2 * i + 15, 2 * j : 2 * j + 19])
                torch.testing.assert_close(result[:, :, i, j], expected)


def test_whole_images_get_the_mean_over_scales_of_the_greatest_logits():
    torch.manual_seed(9)
    net = small_chain((3, 3))
    dense, size = fully_convolutional(net), net.training_size
    images = torch.rand(2, 3, 2 * size, 2 * size + 9)
    with torch.no_grad():
        expected = []
        for scale in (1.0, 0.7):
            sides = [int(side * scale) for side in images.shape[-2:]]
            resized = F.interpolate(images, size=sides, mode="bilinear")
            for seen in (resized, torch.flip(resized, (-1,))):
                expected.append(dense(seen).flatten(2).max(dim=2).values)
    result = dense_logits(dense, images, scales=(1.0, 0.7, 0.4), flip=True)  # no window fits at 0.4
    torch.testing.assert_close(result, sum(expected) / 4)
    with pytest.raises(InputError, match="no room for a window"):
        dense_logits(dense, images, scales=(0.4,))


@torch.no_grad()
def test_dense_evaluation_costs_one_pass_and_crops_cost_many_times_it():
    """OverFeat's accurate net on 461 x 569 pixels: 21 x 30 windows, 12 pixels apart."""
    with torch.device("meta"):
        net = classifier("overfeat_accurate")
        dense = fully_convolutional(net, offset_pooling=True)
        costs = {}
        for size in ((461, 569), (221, 221)):
            with FlopCounterMode(display=False) as counter:
                logits = dense(torch.empty(1, 3, *size))
            costs[size] = counter.get_total_flops()
            with FlopCounterMode(display=False) as counter:
                net.features(torch.empty(1, 3, *size))
            costs[size, "features"] = counter.get_total_flops()
            costs[size, "positions"] = logits.shape[2] * logits.shape[3]
    assert dense.stride == 12
    assert costs[(461, 569), "positions"] == 21 * 30
    last_layers = costs[221, 221] - costs[(221, 221), "features"]
    assert costs[461, 569] == costs[(461, 569), "features"] + 21 * 30 * last_layers
    assert 21 * 30 * costs[221, 221] > 25 * costs[461, 569]


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda: torchvision.models.alexnet(weights=None), {"size": 355}, "averages .*give the size"),
        (lambda: small_chain((3, 3)), {"size": 200}, "does not take images of 200 x 200"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), {}, "no fully connected layer"),
        (lambda: small_chain((3, 3), classes=None), {}, "make it with num_classes"),
        (lambda: torchvision.models.resnet18(weights=None), {"offset_pooling": True}, "needs max-pooling"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 5), nn.Softmax(0)),
            {"size": 5},
            "may mix positions",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_made_dense_is_refused(make, arguments, message):
    with pytest.raises(InputError, match=message):
        fully_convolutional(make(), **arguments)
