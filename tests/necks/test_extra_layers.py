"""SSD's extra layers: the maps of figure 2, and maps of any other trunk."""

import pytest
import torch

from detkit.errors import InputError
from detkit.necks import SSD512_LAYERS, ExtraLayers, L2Norm, SeparableExtraLayers


def test_maps_are_those_of_figure_2():
    neck = ExtraLayers([512, 1024], [8, 16])
    with torch.device("meta"):
        maps = neck.to("meta")([torch.empty(1, 512, 38, 38), torch.empty(1, 1024, 19, 19)])
    assert [tuple(x.shape[1:]) for x in maps] == [
        (512, 38, 38), (1024, 19, 19), (512, 10, 10), (256, 5, 5), (256, 3, 3), (256, 1, 1)
    ]  # fmt: skip
    assert neck.channels == [512, 1024, 512, 256, 256, 256]


def test_ssd512_has_one_more():
    neck = ExtraLayers([512, 1024], [8, 16], SSD512_LAYERS).to("meta")
    maps = neck([torch.empty(1, 512, 64, 64, device="meta"), torch.empty(1, 1024, 32, 32, device="meta")])
    assert [x.shape[-1] for x in maps] == [64, 32, 16, 8, 4, 2, 1]
    assert neck.channels == [x.shape[1] for x in maps]


@pytest.mark.parametrize(
    ("strides", "more"),
    [([4, 8, 16, 32], [64, 64, 64]), ([8, 16, 32], [64, 64, 64]), ([16], [32, 64, 64, 64]), ([64], [64, 64])],
)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("side", [32, 64, 300])
def test_any_trunk_and_any_size_of_image(strides, more, batch_norm, side):
    channels = [4 + level for level in range(len(strides))]
    neck = ExtraLayers(channels, strides, batch_norm=batch_norm).eval()
    assert neck.strides == strides + more
    features = [torch.rand(2, c, -(-side // s), -(-side // s)) for c, s in zip(channels, strides, strict=True)]
    maps = neck(features)
    assert [x.shape[1] for x in maps] == neck.channels
    assert all(min(x.shape[-2:]) >= 1 for x in maps)
    assert all(torch.equal(x, y) for x, y in zip(maps[1 : len(strides)], features[1:], strict=True))


def test_the_finest_map_has_the_learned_length():
    x = torch.randn(2, 6, 3, 4) * 100
    norm = L2Norm(6)
    torch.testing.assert_close(norm(x).norm(dim=1), torch.full((2, 3, 4), 20.0))
    norm.scale.data[2] = 5.0
    torch.testing.assert_close(norm(x)[:, 2], 5 * x[:, 2] / x.square().sum(dim=1).sqrt())
    assert norm(torch.zeros(1, 6, 2, 2)).abs().max() == 0
    with torch.autocast("cpu", torch.bfloat16):
        half = norm((x * 1e3).bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()
    assert not isinstance(ExtraLayers([6], [8], l2_norm=False).norm, L2Norm)


def test_separable_layers_halve():
    neck = SeparableExtraLayers([6, 8], [16, 32], [10, 8]).eval()
    maps = neck([torch.rand(1, 6, 20, 30), torch.rand(1, 8, 10, 15)])
    assert [tuple(x.shape[1:]) for x in maps] == [(6, 20, 30), (8, 10, 15), (10, 5, 8), (8, 3, 4)]
    assert neck.channels == [6, 8, 10, 8]
    assert neck.strides == [16, 32, 64, 128]


@pytest.mark.parametrize("kind", [ExtraLayers, SeparableExtraLayers])
def test_unequal_channels_and_strides_are_refused(kind):
    with pytest.raises(InputError, match=r"channels \[8, 8\] but with strides \[8\]"):
        kind([8, 8], [8])
