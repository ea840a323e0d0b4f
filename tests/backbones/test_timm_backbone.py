"""timm's models of several kinds as backbones, with timm's own whole model as the witness."""

import copy
from dataclasses import dataclass

import pytest
import timm
import torch
from torch import nn

from detkit.backbones import TimmBackbone
from detkit.errors import InputError

# Strides and channels as the papers or timm's source have them.
KINDS = {
    "resnet10t": {4: 64, 8: 128, 16: 256, 32: 512},
    "mobilenetv3_small_050": {4: 8, 8: 16, 16: 24, 32: 288},
    "convnext_atto": {4: 40, 8: 80, 16: 160, 32: 320},
    "efficientnet_lite0": {4: 24, 8: 40, 16: 112, 32: 320},
    "swin_tiny_patch4_window7_224": {
        4: 96,
        8: 192,
        16: 384,
        32: 768,
    },  # maps (B, H, W, C), and images of 224 by default
    "dla34": {4: 64, 8: 128, 16: 256, 32: 512},  # counts a map of stride 1 that it does not return by default
    "vit_tiny_patch16_224": {16: 192},  # one stride, images of 224 by default
}
SIZE = (96, 128)


@dataclass
class Kind:
    """timm's model with random weights, and the backbone that read them from a file."""

    name: str
    model: nn.Module
    trunk: TimmBackbone


def _timm_model(name):
    torch.manual_seed(0)
    options = {
        "swin_tiny_patch4_window7_224": {"strict_img_size": False},
        "vit_tiny_patch16_224": {"dynamic_img_size": 1},
    }
    model = timm.create_model(name, **options.get(name, {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


LARGE = {"swin_tiny_patch4_window7_224", "dla34"}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in KINDS]
)
def kind(request, tmp_path_factory):
    model = _timm_model(request.param)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save(model.state_dict(), path)
    return Kind(request.param, model, TimmBackbone(request.param, str(path)).eval())


def test_channels_and_strides_are_known_before_any_forward(kind):
    assert dict(zip(kind.trunk.strides, kind.trunk.channels, strict=True)) == KINDS[kind.name]
    backbone = copy.deepcopy(kind.trunk).to("meta")
    for height, width in (SIZE, (64, 320), (416, 224)):
        maps = backbone(torch.empty(2, 3, height, width, device="meta"))
        expected = [(2, c, height // s, width // s) for s, c in KINDS[kind.name].items()]
        assert [tuple(map_.shape) for map_ in maps] == expected


def test_maps_are_what_timm_computes(kind):
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    strides = [part["reduction"] for part in kind.model.feature_info]
    with torch.no_grad():
        every = kind.model.forward_intermediates(images, intermediates_only=True)
        result = kind.trunk(images)
    # Of several maps of a stride the last.
    last = {stride: map_ for stride, map_ in zip(strides, every, strict=True)}
    for map_, stride in zip(result, KINDS[kind.name], strict=True):
        torch.testing.assert_close(map_, last[stride], rtol=1e-4, atol=1e-4)


def test_a_classifier_s_file_loads_all_but_the_classifier(kind):
    report = kind.trunk.load_report
    assert report.missing == report.mismatched == []
    assert len(report.matched) == len(kind.trunk.trunk.state_dict())
    heads = ("head", "fc", "classifier", "conv_head", "norm", "bn2", "norm_head")
    assert all(name.startswith(heads) for name in report.unexpected), report.unexpected
    assert report.unexpected


def test_gradients_reach_every_parameter(kind):
    backbone = copy.deepcopy(kind.trunk).train()
    generator = torch.Generator().manual_seed(2)
    maps = backbone(torch.rand(2, 3, 64, 96, generator=generator))
    sum((map_ * torch.randn(map_.shape, generator=generator)).mean() for map_ in maps).backward()
    unused = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert unused == []
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


@pytest.mark.parametrize("stages", [[2], [5, 3], [1, 4], [4, 4]])
@pytest.mark.parametrize("name", ["resnet10t", "dla34"])
def test_chosen_stages(name, stages):
    torch.manual_seed(0)
    every = TimmBackbone(name, stages=[1, 2, 3, 4, 5]).eval()
    chosen = TimmBackbone(name, stages=stages).eval()
    chosen.load_state_dict(every.state_dict(), strict=False)
    expected = sorted(set(stages))
    assert chosen.strides == [2**stage for stage in expected]
    assert chosen.channels == [every.channels[stage - 1] for stage in expected]
    images = torch.rand(1, 3, 64, 96)
    maps = every(images)
    for map_, stage in zip(chosen(images), expected, strict=True):
        torch.testing.assert_close(map_, maps[stage - 1])


@pytest.mark.parametrize(
    ("name", "frozen_stages"),
    [*(("resnet10t", stages) for stages in (0, 2, 3, 5)),
     ("mobilenetv3_small_050", 2), ("convnext_atto", 5), ("efficientnet_lite0", 3)],
)  # fmt: skip
def test_frozen_stages_are_what_their_map_depends_on(name, frozen_stages):
    free = TimmBackbone(name)
    needed = set()
    if frozen_stages:
        map_ = free(torch.rand(2, 3, 64, 64))[free.strides.index(2**frozen_stages)]
        parameters = dict(free.named_parameters())
        gradients = torch.autograd.grad(map_.sum(), parameters.values(), allow_unused=True)
        needed = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
        assert len(needed) >= 3
    backbone = TimmBackbone(name, frozen_stages=frozen_stages)
    assert {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad} == needed


def test_compiles_as_one_graph():
    backbone, images = TimmBackbone("resnet10t").eval(), torch.rand(1, 3, 64, 64)
    compiled = torch.compile(backbone, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), backbone(images))


def test_frozen_stages_below_the_returned_ones():
    frozen, free = TimmBackbone("resnet10t", stages=[4, 5], frozen_stages=2), TimmBackbone("resnet10t", stages=[4, 5])
    names = {name.split(".")[1] for name, parameter in frozen.named_parameters() if not parameter.requires_grad}
    assert names == {"conv1", "bn1", "layer1"}
    assert all(parameter.requires_grad for parameter in free.parameters())


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050"]
)  # the second's batch norm has its activation in it
def test_frozen_batch_norm_uses_and_keeps_its_statistics(name, tmp_path):
    torch.save(_timm_model(name).state_dict(), tmp_path / "model.pth")
    free = TimmBackbone(name, str(tmp_path / "model.pth")).eval()
    frozen = TimmBackbone(name, str(tmp_path / "model.pth"), frozen_batch_norm=True).train()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    images = torch.rand(2, 3, 64, 64)
    maps = frozen(images)
    for map_, expected in zip(maps, free(images), strict=True):
        torch.testing.assert_close(map_, expected, rtol=1e-4, atol=1e-4)
    sum(map_.sum() for map_ in maps).backward()
    with torch.no_grad():
        for parameter in frozen.parameters():
            parameter -= 0.01 * parameter.grad
    changed = {name for name, value in frozen.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert len(statistics) > 10
    assert not changed & {name.replace("running_mean", part) for name in statistics for part in ("weight", "bias")}
    assert not changed & statistics


def test_default_weights_are_timm_s(monkeypatch):
    published = _timm_model("resnet10t")
    asked = []

    def load(model, pretrained_cfg=None, **options):
        asked.append(pretrained_cfg["architecture"])
        model.load_state_dict(published.state_dict())

    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr("timm.models._builder.load_pretrained", load)
    backbone = TimmBackbone("resnet10t", weights="DEFAULT")
    assert asked == ["resnet10t"]
    state_dict = published.state_dict()
    assert all(torch.equal(value, state_dict[name]) for name, value in backbone.trunk.state_dict().items())


def test_default_weights_that_cannot_be_had_say_what_to_do():
    with pytest.raises(InputError, match=r"published weights of darknet17 cannot be had \(No pretrained.*path"):
        TimmBackbone("darknet17", weights="DEFAULT")


def test_random_weights_ask_for_none(monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_pretrained", None)
    TimmBackbone("resnet10t")


@pytest.mark.parametrize(("name", "close"), [("resnet_18", "resnet"), ("swin_t", "swin_"), ("nonsense", "none")])
def test_an_unknown_name_is_answered_with_close_ones(name, close):
    with pytest.raises(InputError, match=rf"no model '{name}'; close to it: .*{close}"):
        TimmBackbone(name)


@pytest.mark.parametrize("name", ["mixer_s16_224", "levit_128s"])
def test_models_for_images_of_one_size_are_refused(name):
    with pytest.raises(InputError, match=f"{name} cannot return feature maps of images of any size"):
        TimmBackbone(name)


@pytest.mark.parametrize(("name", "stages"), [("resnet10t", [6]), ("resnet10t", []), ("vit_tiny_patch16_224", [5])])
def test_unknown_stages_are_refused_with_those_there_are(name, stages):
    with pytest.raises(InputError, match=rf"{name} has no stages .*it has \[.*4.*\]"):
        TimmBackbone(name, stages=stages)


def test_strides_that_are_no_powers_of_two_are_no_stages():
    with pytest.raises(InputError, match="convmixer_768_32 has no stages"):  # patches of 7 pixels
        TimmBackbone("convmixer_768_32")


def test_a_file_of_another_model_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: none of its 2 tensors fits"):
        TimmBackbone("resnet10t", str(tmp_path / "other.pth"))


def test_a_file_with_the_names_of_the_backbone_itself_loads(tmp_path):
    backbone = TimmBackbone("convnext_atto")
    torch.save(backbone.trunk.state_dict(), tmp_path / "trunk.pth")
    report = TimmBackbone("convnext_atto", str(tmp_path / "trunk.pth")).load_report
    assert report.missing == report.unexpected == report.mismatched == []
