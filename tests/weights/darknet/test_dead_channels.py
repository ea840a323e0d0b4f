"""Files as published: channels that died in training, weights that are not finite, files that are none."""

import struct
import warnings

import darknet_cfgs as cfgs
import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.weights import from_darknet, to_darknet
from detkit.weights.darknet.network import Darknet
from detkit.weights.darknet.weighted_layers import BatchNorm

DEAD = -7e-44


def _yolo():
    cfg = cfgs.Cfg(32)
    cfg.conv(8, 3, 2)
    cfg.conv(8, 3, 2)
    cfg.yolo("0,1,2", "5,6, 10,12, 20,18", 2)
    return cfg


def _batch_norm(variances):
    layer = BatchNorm(len(variances)).eval()
    with torch.no_grad():
        layer.running_var.copy_(torch.tensor(variances))
        layer.running_mean.uniform_(-0.1, 0.1)
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    return layer


def test_good_variances_are_those_of_darknet_on_the_cpu():
    torch.manual_seed(0)
    layer, x = _batch_norm([1e-12, 1e-6, 0.3, 7.0]), torch.randn(2, 4, 3, 3)
    mean, variance, scale, bias = (
        tensor.detach().double()[:, None, None]
        for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    expected = (x.double() - mean) / (variance.sqrt() + 1e-6) * scale + bias
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variance", [DEAD, 0.0, 7e-44, -1e-7])
def test_dead_channels_are_those_of_darknet_on_the_gpu(variance):
    torch.manual_seed(0)
    layer, x = _batch_norm([variance, 0.3]), 1e-3 * torch.randn(2, 2, 3, 3)
    dead = (x[:, 0] - layer.running_mean[0]) / (variance + 1e-5) ** 0.5 * layer.weight[0] + layer.bias[0]
    torch.testing.assert_close(layer(x)[:, 0], dead, rtol=1e-4, atol=1e-5)
    others = layer(x)[:, 1]
    layer.running_var[0] = 0.3
    assert torch.equal(layer(x)[:, 1], others)


def test_a_file_with_dead_channels_detects_without_a_word_and_is_written_bit_for_bit(saved, tmp_path):
    stem = saved(_yolo())
    model = from_darknet(stem.with_suffix(".cfg"), stem.with_suffix(".weights"))
    with torch.no_grad():
        first = model.network.layers[0]
        first.batch_norm.running_var[::3] = DEAD
        first.convolution.weight[::3] = 0
        first.batch_norm.running_mean[::3] = 0
    to_darknet(model, tmp_path / "dead")
    image = torch.rand(3, 40, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = from_darknet(tmp_path / "dead.cfg", tmp_path / "dead.weights")
        detections = again.predict(image)
    assert float(again.network.layers[0].batch_norm.running_var[0]) < 0
    assert len(detections) > 0
    to_darknet(again, tmp_path / "again")
    assert (tmp_path / "again.weights").read_bytes() == (tmp_path / "dead.weights").read_bytes()


def test_a_variance_that_is_no_rounding_is_warned_of(saved):
    stem = saved(_yolo())
    model = from_darknet(stem.with_suffix(".cfg"), stem.with_suffix(".weights"))
    with torch.no_grad():
        model.network.layers[1].batch_norm.running_var[2] = -0.5
    with pytest.warns(UserWarning, match=r"layer network\.layers\.1\.batch_norm \(BatchNorm\).*its running_var cannot"):
        model.predict(torch.rand(3, 40, 50))


def test_weights_that_are_not_finite_are_named_once(saved):
    stem = saved(_yolo())
    path = stem.with_suffix(".weights")
    content = bytearray(path.read_bytes())
    content[-4:] = struct.pack("<f", np.nan)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"layer 2 \[convolutional\] hold weights that are not finite") as said:
        from_darknet(stem.with_suffix(".cfg"), path)
    assert len(said) == 1


def test_a_refused_file_changes_no_weights_and_says_what_it_is(saved, tmp_path):
    stem = saved(_yolo())
    for content in (b"PK\3\4" + bytes(400), b"<!DOCTYPE html>" * 90):
        (tmp_path / "page.weights").write_bytes(content)
        with pytest.raises(InputError, match="is no darknet weights file: it would be of version"):
            from_darknet(stem.with_suffix(".cfg"), tmp_path / "page.weights")
    for path in ("no\0name.weights", tmp_path):
        with pytest.raises(InputError, match="cannot read the weights"):
            from_darknet(stem.with_suffix(".cfg"), path)


ODD = [
    ("filters=8", "filters=nan", "line 7, layer 0 [convolutional]: filters=nan: 'nan' is not a number"),
    ("filters=8", "filters=inf", "'inf' is not a number"),
    ("filters=8", "filters=1e400", "filters must be at most 1000000, got 1e400"),
    ("filters=8", "filters=1_0", "'1_0' is not a number"),
    ("filters=8", "filters=\u0663", "is not a number"),
    ("filters=8", "filters=" + "9" * 5000, "9..."),
    ("size=3", "size=99999", "more than"),
    ("width=32", "width=999999\nheight=999999", "more than 268,435,456 numbers for an image"),
    ("anchors=5,6,", "anchors=5,6,7,", "anchors must be pairs of positive numbers, got 7 numbers"),
    ("anchors=5,6,", "anchors=5,-6,", "anchors must be at least 0, got -6"),
    ("anchors=5,6,", "anchors=5,nan,", "'nan' is not a number"),
    ("activation=leaky", "activation=\udcff", "activation '\\udcff' is not one of linear"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), ODD)
def test_odd_numbers_of_a_cfg_are_refused_with_line_layer_and_key(tmp_path, right, wrong, message):
    path = tmp_path / "odd.cfg"
    assert right in str(_yolo())
    path.write_bytes(str(_yolo()).replace(right, wrong, 1).encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        from_darknet(path)
    said = str(error.value)
    assert message in said
    assert len(said.encode()) < 500


def test_maps_that_are_kept_together_must_fit():
    cfg = cfgs.Cfg(4096)
    for _ in range(6):
        cfg.conv(15, 1)
    cfg.route(*range(6))
    with torch.device("meta"), pytest.raises(InputError, match="more than"):
        Darknet(str(cfg))
