"""One network of every torchvision family as a backbone, with torchvision's own net as the witness."""

import copy
import warnings
from dataclasses import dataclass
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError

# Where the maps of strides 4, 8, 16, 32 come out of torchvision's net, read from its source.
WITNESSES = {
    "alexnet": ["features.1", "features.4", "features.11", "features.12"],
    "vgg11_bn": ["features.13", "features.20", "features.27", "features.28"],
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "resnext50_32x4d": ["layer1", "layer2", "layer3", "layer4"],
    "squeezenet1_1": ["features.4", "features.7", "features.12"],
    "densenet121": ["features.denseblock1", "features.denseblock2", "features.denseblock3", "features.norm5"],
    "googlenet": ["conv3", "inception3b", "inception4e", "inception5b"],
    "inception_v3": ["Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"],
    "mobilenet_v2": ["features.3", "features.6", "features.13", "features.18"],
    "mobilenet_v3_small": ["features.1", "features.3", "features.8", "features.12"],
    "mnasnet0_5": ["layers.8", "layers.9", "layers.11", "layers.16"],
    "shufflenet_v2_x0_5": ["maxpool", "stage2", "stage3", "conv5"],
    "regnet_x_400mf": [f"trunk_output.block{stage}" for stage in (1, 2, 3, 4)],
    "efficientnet_b0": ["features.2", "features.3", "features.5", "features.8"],
    "convnext_tiny": ["features.1", "features.3", "features.5", "features.7"],
    "swin_t": ["features.1", "features.3", "features.5", "permute"],
}
LARGE = {"resnext50_32x4d", "inception_v3", "densenet121", "convnext_tiny", "swin_t"}
WITHOUT_PADDING = {"alexnet", "squeezenet1_1", "inception_v3"}
CLASSIFIER = {"classifier", "fc", "head", "AuxLogits", "aux1", "aux2"}
SIZE = (96, 128)


@dataclass
class Family:
    """torchvision's net with random weights, and the backbone that read them from a file."""

    name: str
    net: nn.Module
    names: list[str]
    trunk: TorchvisionBackbone


def _torchvision_net(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of GoogLeNet and Inception, about how they start
        net = torchvision.models.get_model(name, weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    # The published weights of the two that can are for pixels in [-1, 1], so the trunk takes them all as such.
    if hasattr(net, "transform_input"):
        net.transform_input = True
    return net.eval()


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in WITNESSES]
)
def family(request, tmp_path_factory):
    net = _torchvision_net(request.param)
    state_dict = net.state_dict()
    # Hundreds of megabytes in the classifiers of VGG and AlexNet: their names are enough.
    small = {
        name: value.flatten()[:1] if name.split(".")[0] in CLASSIFIER else value for name, value in state_dict.items()
    }
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save({name: value.clone() for name, value in small.items()}, path)
    return Family(request.param, net, list(state_dict), TorchvisionBackbone(request.param, str(path)).eval())


def test_channels_and_strides_are_known_before_any_forward(family):
    backbone = copy.deepcopy(family.trunk).to("meta")
    height, width = SIZE
    maps = backbone(torch.empty(2, 3, height, width, device="meta"))
    larger = backbone(torch.empty(2, 3, height + 512, width + 256, device="meta"))
    assert backbone.strides == [4, 8, 16, 32][: len(WITNESSES[family.name])]
    assert [map_.shape[1] for map_ in maps] == backbone.channels
    # A larger image has so many more cells, whatever is lost at the borders.
    for map_, map_of_larger, stride in zip(maps, larger, backbone.strides, strict=True):
        more = [after - before for after, before in zip(map_of_larger.shape[2:], map_.shape[2:], strict=True)]
        assert more == [512 // stride, 256 // stride]
        if family.name not in WITHOUT_PADDING:
            assert map_.shape[2:] == (height // stride, width // stride)


def test_maps_are_what_torchvision_computes(family):
    expected = {}

    def witness(name):
        return lambda module, inputs, output: expected.update({name: output.clone()})

    hooks = [family.net.get_submodule(name).register_forward_hook(witness(name)) for name in WITNESSES[family.name]]
    images = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        family.net(images)
        result = family.trunk(images)
    for hook in hooks:
        hook.remove()
    for map_, name in zip(result, WITNESSES[family.name], strict=True):
        wanted = expected[name]
        if map_.shape != wanted.shape:  # Swin has its channels last
            wanted = wanted.permute(0, 3, 1, 2)
        assert torch.equal(map_, wanted), name


def test_a_classifier_s_file_loads_all_but_the_classifier(family):
    of_classifier = {name for name in family.names if name.split(".")[0] in CLASSIFIER}
    report = family.trunk.load_report
    assert report.missing == report.mismatched == []
    assert set(report.unexpected) == of_classifier
    assert len(of_classifier) >= 2
    assert set(report.matched) == set(family.names) - of_classifier == set(family.trunk.trunk.state_dict())


def test_gradients_reach_every_parameter(family):
    backbone = copy.deepcopy(family.trunk).train()
    generator = torch.Generator().manual_seed(2)
    maps = backbone(torch.rand(2, 3, 96, 96, generator=generator))
    sum((map_ * torch.randn(map_.shape, generator=generator)).mean() for map_ in maps).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert sum(parameter.grad.abs().sum() for parameter in backbone.parameters()) > 0


@pytest.mark.parametrize("stages", [[2], [3, 5], [5, 3], [1, 4], [4, 4]])
def test_chosen_stages(stages):
    torch.manual_seed(0)
    every = TorchvisionBackbone("resnet18", stages=[1, 2, 3, 4, 5]).eval()
    chosen = TorchvisionBackbone("resnet18", stages=stages).eval()
    chosen.load_state_dict(every.state_dict(), strict=False)
    expected = sorted(set(stages))
    assert chosen.strides == [2**stage for stage in expected]
    assert chosen.channels == [every.channels[stage - 1] for stage in expected]
    images = torch.rand(1, 3, 64, 96)
    maps = every(images)
    for map_, stage in zip(chosen(images), expected, strict=True):
        assert torch.equal(map_, maps[stage - 1])


def test_chosen_blocks_may_have_the_same_stride():
    torch.manual_seed(0)
    every = TorchvisionBackbone("mobilenet_v3_small").eval()
    names = ["features.9", "features.12"]
    chosen = TorchvisionBackbone("mobilenet_v3_small", blocks=names).eval()
    chosen.load_state_dict(every.state_dict())
    assert chosen.strides == [32, 32]
    images = torch.rand(1, 3, 64, 96)
    first, last = chosen(images)
    assert first.shape[1:] == (chosen.channels[0], 2, 3)
    assert torch.equal(first, every.trunk.features[:10](images))
    assert torch.equal(last, every(images)[-1])
    with pytest.raises(InputError, match=r"no blocks \['features\.99'\]: it has features\.0, features\.1"):
        TorchvisionBackbone("mobilenet_v3_small", blocks=["features.99"])


def test_strides_in_the_1x1_convolutions_see_every_other_cell_alone():
    usual, moved = (TorchvisionBackbone("resnet50", stages=[3], stride_in_1x1=moved).eval() for moved in (False, True))
    moved.load_state_dict(usual.state_dict())
    with torch.no_grad():
        stem = nn.Sequential(
            *(usual.trunk.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool", "layer1"))
        )
        fine = stem(torch.rand(1, 3, 64, 64))
        block = moved.trunk.layer2[0]
        sparse = torch.zeros_like(fine)
        sparse[..., ::2, ::2] = fine[..., ::2, ::2]
        torch.testing.assert_close(block(fine), block(sparse))
        assert not torch.allclose(usual.trunk.layer2[0](fine), usual.trunk.layer2[0](sparse), atol=1e-3)
    with pytest.raises(InputError, match="50 layers"):
        TorchvisionBackbone("resnet18", stride_in_1x1=True)


def test_compiles_as_one_graph():
    backbone, images = TorchvisionBackbone("resnet18").eval(), torch.rand(1, 3, 64, 64)
    compiled = torch.compile(backbone, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), backbone(images))


def test_blocks_after_the_last_stage_are_not_kept():
    names = {name.split(".")[1] for name in TorchvisionBackbone("resnet18", stages=[2, 3]).state_dict()}
    assert names == {"conv1", "bn1", "layer1", "layer2"}


@pytest.mark.parametrize(
    ("name", "frozen_stages"),
    [*(("resnet18", stages) for stages in (0, 2, 3, 5)),
     ("mobilenet_v3_small", 2), ("mobilenet_v3_small", 5), ("densenet121", 3), ("shufflenet_v2_x0_5", 3)],
)  # fmt: skip
def test_frozen_stages_are_what_their_map_depends_on(name, frozen_stages):
    free = TorchvisionBackbone(name)
    needed = set()
    if frozen_stages:
        map_ = free(torch.rand(2, 3, 64, 64))[free.strides.index(2**frozen_stages)]
        parameters = dict(free.named_parameters())
        gradients = torch.autograd.grad(map_.sum(), parameters.values(), allow_unused=True)
        needed = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
        assert len(needed) >= 3
    backbone = TorchvisionBackbone(name, frozen_stages=frozen_stages)
    assert {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad} == needed


def test_frozen_stages_below_the_returned_ones():
    backbone = TorchvisionBackbone("resnet18", stages=[4, 5], frozen_stages=2)
    frozen = {name.split(".")[1] for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}


def test_frozen_batch_norm_uses_and_keeps_its_statistics(tmp_path):
    net = _torchvision_net("resnet18")
    torch.save(net.state_dict(), tmp_path / "net.pth")
    free = TorchvisionBackbone("resnet18", str(tmp_path / "net.pth")).eval()
    frozen = TorchvisionBackbone("resnet18", str(tmp_path / "net.pth"), frozen_batch_norm=True).train()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    images = torch.rand(2, 3, 64, 64)
    maps = frozen(images)
    for map_, expected in zip(maps, free(images), strict=True):
        torch.testing.assert_close(map_, expected, rtol=1e-4, atol=1e-5)
    sum(map_.sum() for map_ in maps).backward()
    with torch.no_grad():
        for parameter in frozen.parameters():
            parameter -= parameter.grad
    names = {name for name, value in frozen.state_dict().items() if not torch.equal(value, before[name])}
    assert names
    assert not any("bn" in name or "downsample.1" in name for name in names)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    assert sum(
        isinstance(module, FrozenBatchNorm2d) or "Frozen" in type(module).__name__ for module in frozen.modules()
    )


def test_default_weights_are_torchvision_s_best(monkeypatch):
    published = _torchvision_net("shufflenet_v2_x0_5").state_dict()
    urls = []

    def load(url, *arguments, **options):
        urls.append(url)
        return published

    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    backbone = TorchvisionBackbone("shufflenet_v2_x0_5", weights="DEFAULT")
    assert urls == [torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.url]
    for name, value in backbone.trunk.state_dict().items():
        assert torch.equal(value, published[name]), name


def test_default_weights_without_a_network_say_what_to_do(monkeypatch):
    def fail(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(InputError, match=r"weights of resnet18 cannot be had \(.*no route to host.*path of a weights"):
        TorchvisionBackbone("resnet18", weights="DEFAULT")


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_trunk_rebuilt_without_its_file_sees_the_same_pixels(name, tmp_path):
    torch.save(TorchvisionBackbone(name, stages=[2]).trunk.state_dict(), tmp_path / "net.pth")
    loaded = TorchvisionBackbone(name, str(tmp_path / "net.pth"), stages=[2]).eval()
    rebuilt = TorchvisionBackbone(name, stages=[2]).eval()
    rebuilt.load_state_dict(loaded.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(rebuilt(images)[0], loaded(images)[0])


@pytest.mark.parametrize(("name", "close"), [("resnet-18", "resnet18"), ("Swin_T", "swin_t"), ("vgg_16", "vgg16")])
def test_an_unknown_name_is_answered_with_close_ones(name, close):
    with pytest.raises(InputError, match=rf"{name}.*{close}"):
        TorchvisionBackbone(name)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fcn_resnet50", "r3d_18", ""])
def test_other_models_are_unknown(name):
    with pytest.raises(InputError, match="no classification net"):
        TorchvisionBackbone(name)


@pytest.mark.parametrize("name", ["vit_b_16", "maxvit_t"])
def test_nets_for_images_of_one_size_are_refused(name):
    with pytest.raises(InputError, match=f"{name} does not take images of any size"):
        TorchvisionBackbone(name)


@pytest.mark.parametrize("stages", [[6], [2, 7], [-1], []])
def test_unknown_stages_are_refused_with_those_there_are(stages):
    with pytest.raises(InputError, match=r"resnet18 has no stages .*1, 2, 3, 4, 5\]"):
        TorchvisionBackbone("resnet18", stages=stages)


def test_a_file_of_another_net_is_refused(tmp_path):
    torch.save(torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: none of its .* tensors fits"):
        TorchvisionBackbone("squeezenet1_1", str(tmp_path / "other.pth"))


def test_tensors_of_another_shape_are_listed(tmp_path):
    state_dict = torchvision.models.squeezenet1_1(weights=None).state_dict()
    state_dict["features.0.weight"] = torch.zeros(64, 1, 3, 3)  # of a net for gray images
    torch.save(state_dict, tmp_path / "gray.pth")
    report = TorchvisionBackbone("squeezenet1_1", str(tmp_path / "gray.pth")).load_report
    assert report.mismatched == [("features.0.weight", (64, 1, 3, 3), (64, 3, 3, 3))]
    assert "features.0.weight (file (64, 1, 3, 3), model (64, 3, 3, 3))" in str(report)


@pytest.mark.parametrize(
    ("name", "file", "unexpected"),
    [
        ("mobilenet_v2", "mobilenet_v2_features_imagenet.pth", []),
        ("squeezenet1_1", "squeezenet1_1_imagenet.pth", ["classifier.1.weight", "classifier.1.bias"]),
    ],
)
def test_published_files_load_whole(shared, name, file, unexpected):
    path = shared / "weights" / file
    if not path.is_file():
        pytest.skip(f"no {path}")
    backbone = TorchvisionBackbone(name, str(path))
    assert backbone.load_report.missing == backbone.load_report.mismatched == []
    assert backbone.load_report.unexpected == unexpected
    published = torch.load(path, weights_only=True)
    assert all(torch.equal(value, published[key]) for key, value in backbone.trunk.state_dict().items())
