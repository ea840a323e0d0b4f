"""The feature pyramid against torchvision's with the same weights."""

from functools import partial

import pytest
import torch
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from detkit.deprecation import OldName
from detkit.errors import InputError
from detkit.necks import FPN, EveryOtherCell, StridedConvolutions

EXTRA_LEVELS = {  # ours, and torchvision's, which takes C5 where the channels of C5 and P5 differ
    "every other cell": (EveryOtherCell, LastLevelMaxPool),
    "convolutions on P5": (StridedConvolutions, lambda: LastLevelP6P7(12, 12)),
    "convolutions on C5": (partial(StridedConvolutions, from_backbone=True), lambda: LastLevelP6P7(32, 12)),
}
CHANNELS, STRIDES = [8, 16, 24, 32], [4, 8, 16, 32]


def _features(height, width, seed, batch=2):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    return [torch.randn(batch, c, *size, generator=generator) for c, size in zip(CHANNELS, sizes, strict=True)]


def _twins(extra_levels, out_channels=12):
    our_levels, their_levels = EXTRA_LEVELS[extra_levels]
    theirs = FeaturePyramidNetwork(CHANNELS, out_channels, extra_blocks=their_levels())
    ours = FPN(CHANNELS, STRIDES, out_channels, our_levels)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
        for level in range(len(CHANNELS)):
            ours.lateral[level].load_state_dict(theirs.inner_blocks[level][0].state_dict())
            ours.output[level].load_state_dict(theirs.layer_blocks[level][0].state_dict())
        ours.extra_levels.load_state_dict(theirs.extra_blocks.state_dict())
    return ours, theirs


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("size", [(128, 192), (100, 132), (37, 211), (33, 33), (32, 32)])
@pytest.mark.parametrize("extra_levels", EXTRA_LEVELS)
def test_equals_torchvision(extra_levels, size, seed):
    torch.manual_seed(seed)
    ours, theirs = _twins(extra_levels)
    features = _features(*size, seed)
    expected = theirs({str(level): feature for level, feature in enumerate(features)})
    result = ours(features)
    assert len(result) == len(expected) == len(ours.strides)
    for map_, wanted in zip(result, expected.values(), strict=True):
        torch.testing.assert_close(map_, wanted)


@pytest.mark.parametrize(
    ("extra_levels", "further"), [(None, []), (EveryOtherCell, [64]), (StridedConvolutions, [64, 128])]
)
def test_channels_and_strides_are_those_of_the_maps(extra_levels, further):
    pyramid = FPN(CHANNELS, STRIDES, out_channels=12, extra_levels=extra_levels)
    assert pyramid.strides == [4, 8, 16, 32, *further]
    maps = pyramid(_features(128, 256, 0))
    assert [map_.shape[1] for map_ in maps] == pyramid.channels == [12] * len(pyramid.strides)
    assert [(128 // map_.shape[2], 256 // map_.shape[3]) for map_ in maps] == [(s, s) for s in pyramid.strides]


def test_the_default_extra_level_takes_every_other_cell():
    maps = FPN(CHANNELS, STRIDES, out_channels=6)(_features(160, 224, 0))
    assert torch.equal(maps[-1], maps[-2][:, :, ::2, ::2])


def test_one_level_is_a_pyramid_too():
    pyramid = FPN([16], [8], out_channels=4)
    maps = pyramid([torch.randn(1, 16, 5, 7)])
    assert [tuple(map_.shape) for map_ in maps] == [(1, 4, 5, 7), (1, 4, 3, 4)]
    assert pyramid.strides == [8, 16]


def test_coarse_maps_reach_the_finest_and_not_the_other_way():
    features = [feature.requires_grad_() for feature in _features(64, 64, 0)]
    pyramid = FPN(CHANNELS, STRIDES, out_channels=6)
    gradients = torch.autograd.grad(pyramid(features)[0].sum(), features)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    gradients = torch.autograd.grad(pyramid(features)[3].sum(), features, allow_unused=True)
    assert gradients[:3] == (None, None, None)


@pytest.mark.parametrize("extra_levels", [EveryOtherCell, StridedConvolutions])
def test_every_parameter_is_trained(extra_levels):
    torch.manual_seed(0)
    pyramid = FPN(CHANNELS, STRIDES, out_channels=6, extra_levels=extra_levels)
    sum(map_.square().sum() for map_ in pyramid(_features(64, 96, 0))).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in pyramid.parameters())


def test_channels_and_strides_of_different_lengths_are_refused():
    with pytest.raises(InputError, match=r"\[8, 16\].*\[4, 8, 16\]"):
        FPN([8, 16], [4, 8, 16])


def test_the_old_name_of_from_backbone_still_works():
    with pytest.warns(OldName, match=r"StridedConvolutions\(from_backbone=\.\.\.\) now"):
        levels = StridedConvolutions(8, 16, from_trunk=True)
    assert levels.p6.in_channels == 8
    with pytest.warns(OldName, match=r"from_trunk is StridedConvolutions\.from_backbone now"):
        assert levels.from_trunk
    with pytest.warns(OldName, match="from_trunk"):
        levels.from_trunk = False
    assert not levels.from_backbone
