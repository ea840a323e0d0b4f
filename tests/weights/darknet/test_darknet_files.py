"""Darknet's files: published sizes, versions, what goes in comes out, and what is refused."""

import struct
from pathlib import Path

import darknet_cfgs as cfgs
import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.weights import from_darknet, to_darknet
from detkit.weights.darknet.network import Darknet
from detkit.weights.darknet.weights_file import Header

# Bytes of the published files, whose headers have 16 bytes (4 for the images seen) or 20 (8 for them).
PUBLISHED = [
    (cfgs.yolov1(), 16, 789_312_988),
    (cfgs.yolov2(), 16, 203_934_260),
    (cfgs.yolov2(classes=20), 16, 202_704_260),
    (cfgs.yolov2_tiny(), 16, 63_471_556),
    (cfgs.yolov3(), 20, 248_007_048),
    (cfgs.yolov3(width=608, spp=True), 20, 252_209_544),
    (cfgs.yolov3_tiny(), 20, 35_434_956),
    (cfgs.yolov4(), 20, 257_717_640),
    (cfgs.yolov4_tiny(), 20, 24_251_276),
    (cfgs.darknet53_conv74(), 20, 162_482_580),
]


@pytest.mark.parametrize(("cfg", "header", "size"), PUBLISHED)
def test_published_files_have_the_bytes_that_their_cfgs_ask_for(cfg, header, size):
    with torch.device("meta"):
        network = Darknet(str(cfg))
    assert header + 4 * sum(weights.numel() for _, layer in network.stored() for weights in layer.stored()) == size


# As far as published names tell: torchvision's parameters, plus one variance and mean for each batch norm.
@pytest.mark.parametrize(("cfg", "megabytes"), [(cfgs.vgg16(), 528), (cfgs.resnet(18), 44), (cfgs.resnet(152), 220)])
def test_classifiers_have_their_published_size(cfg, megabytes):
    with torch.device("meta"):
        network = Darknet(str(cfg))
    numbers = sum(weights.numel() for _, layer in network.stored() for weights in layer.stored())
    assert abs(4 * numbers / 2**20 - megabytes) < 1


def _tiny():
    """Some of every kind of layer that has weights."""
    cfg = cfgs.Cfg(32, 24)
    cfg.conv(6, groups=3)
    cfg.conv(8, 2, 2, batch_normalize=0)
    cfg.add("deconvolutional", filters=4, size=2, stride=2, batch_normalize=1, activation="relu")
    cfg.add("batchnorm")
    cfg.conv(4)
    cfg.shortcut(-2, weights_type="per_channel", weights_normalization="softmax")
    cfg.add("implicit", filters=4)
    cfg.route(-2)
    cfg.add("shift_channels", **{"from": -2})
    cfg.add("local", size=3, pad=1, filters=2, activation="leaky")
    cfg.add("connected", output=12, batch_normalize=1, activation="leaky")
    cfg.add("connected", output=2 * 2 * (3 + 5), activation="linear")
    cfg.add("detection", classes=3, coords=4, side=2, num=1, sqrt=1)
    return cfg


HEADERS = [Header(0, 1, 0, 1234), Header(0, 2, 0, 2**33 + 5), Header(0, 2, 5, 32_013_312), Header(1, 0, 0, 7)]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_read_is_written_bit_for_bit(tmp_path, header, seed):
    """Any bits, NaNs too."""
    (tmp_path / "given.cfg").write_bytes(str(_tiny()).replace("\n", "\r\n").encode() + b"# \xff not utf-8\n")
    with torch.device("meta"):
        network = Darknet(str(_tiny()))
    size = 4 * sum(weights.numel() for _, layer in network.stored() for weights in layer.stored())
    numbers = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    seen = struct.pack("<Q" if header.major * 10 + header.minor >= 2 else "<I", header.seen)
    content = struct.pack("<3i", header.major, header.minor, header.revision) + seen + numbers.tobytes()
    (tmp_path / "given.weights").write_bytes(content)
    model = from_darknet(tmp_path / "given.cfg", tmp_path / "given.weights")
    assert model.network.header == header
    to_darknet(model, tmp_path / "written.weights")
    assert (tmp_path / "written.weights").read_bytes() == content
    assert (tmp_path / "written.cfg").read_bytes() == (tmp_path / "given.cfg").read_bytes()


def test_transposed_and_flipped_weights_are_turned(saved, tmp_path):
    """Files of versions above 1000 have connected layers as (inputs, outputs), and 4 bytes of images seen."""
    cfg = cfgs.Cfg(2)
    cfg.conv(3, 1, batch_normalize=0, flipped=1)
    cfg.add("connected", output=5)
    (tmp_path / "old.cfg").write_text(str(cfg))
    numbers = np.arange(3 + 9 + 5 + 60, dtype="<f4")
    content = struct.pack("<3iI", 0, 1001, 0, 9) + numbers.tobytes()
    (tmp_path / "old.weights").write_bytes(content)
    model = from_darknet(tmp_path / "old.cfg", tmp_path / "old.weights")
    convolution, connected = model.network.layers
    np.testing.assert_array_equal(convolution.convolution.weight.detach().flatten(1).T, numbers[3:12].reshape(3, 3))
    np.testing.assert_array_equal(connected.linear.weight.detach().T, numbers[17:].reshape(12, 5))
    to_darknet(model, tmp_path / "again")
    assert (tmp_path / "again.weights").read_bytes() == content


def test_layers_that_are_not_to_be_loaded_are_not_in_the_file_but_written(tmp_path):
    def cfg(**last):
        made = cfgs.Cfg(8)
        made.conv(2, 1)
        made.conv(3, 1, **last)
        return str(made)

    (tmp_path / "some.cfg").write_text(cfg(dontload=1))
    (tmp_path / "some.weights").write_bytes(Header().pack() + np.arange(14, dtype="<f4").tobytes())
    to_darknet(from_darknet(tmp_path / "some.cfg", tmp_path / "some.weights"), tmp_path / "all.cfg")
    assert (tmp_path / "all.cfg").read_text() == cfg()
    from_darknet(tmp_path / "all.cfg", tmp_path / "all.weights")
    (tmp_path / "some.cfg").write_text(cfg(dontloadscales=1))
    (tmp_path / "some.weights").write_bytes(Header().pack() + np.arange(14 + 9, dtype="<f4").tobytes())
    last = from_darknet(tmp_path / "some.cfg", tmp_path / "some.weights").network.layers[1]
    np.testing.assert_array_equal(last.batch_norm.bias.detach(), [14, 15, 16])
    np.testing.assert_array_equal(last.convolution.weight.detach().flatten(), np.arange(17, 23))


def _refused(saved, weights):
    stem = saved(cfgs.yolov3_tiny(96, classes=1))
    path = stem.with_suffix(".weights")
    path.write_bytes(weights(path.read_bytes()))
    with pytest.raises(InputError) as error:
        from_darknet(stem.with_suffix(".cfg"), path)
    return str(error.value)


def test_short_and_long_files_are_refused_with_layer_and_bytes(saved):
    message = _refused(saved, lambda content: content[:-4])
    assert "layer 22 [convolutional]" in message
    assert "34,704,992 bytes" in message
    assert "34,704,996" in message
    message = _refused(saved, lambda content: content + b"\0")
    assert "layer 23 [yolo]" in message
    assert "34,704,997 bytes" in message
    assert "34,704,996" in message
    message = _refused(saved, lambda content: content[:1000])
    assert "layer 0 [convolutional]" in message
    assert "bytes 20 to 2,004" in message
    assert "header" in _refused(saved, lambda content: content[:17])


BAD = [
    ("[convolutional]", "[convolutionl]", "line 6, layer 0 [convolutionl]: unknown kind of layer"),
    ("filters=16", "filters=many", "line 7, layer 0 [convolutional]: filters=many: 'many' is not a number"),
    ("filters=16", "filters", "line 7: 'filters' must be key=value"),
    ("filters=16", "filters=1.5", "filters=1.5 must be whole"),
    ("stride=1", "stride=0", "stride must be at least 1, got 0"),
    ("activation=leaky", "activation=leeky", "activation 'leeky' is not one of linear, leaky"),
    ("filters=18", "filters=255", "layer 16 [yolo]: 3 anchors with 6 numbers each need filters=18"),
    ("mask=3,4,5", "mask=3,4,6", "mask [3, 4, 6] asks for more than the 6 anchors"),
    ("layers=-4", "layers=17", "layer 17 [route]: layers=17 is no earlier layer"),
    ("layers=-4", "layers=-1000", "layers=-1000 is no earlier layer"),
    ("layers=-1,8", "layers=-1,6", "layer 20 [route]: its layers differ in size"),
    ("[net]", "[nets]", "must start with [net]"),
    ("[maxpool]", "[maxpool", "must end in ]"),
    ("size=3", "size=3\nxnor=1", "xnor=1 is not supported"),
    ("width=96", "width=0", "width must be at least 1"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), BAD)
def test_wrong_cfgs_are_refused_with_file_line_and_layer(tmp_path, right, wrong, message):
    path = tmp_path / "wrong.cfg"
    path.write_text(str(cfgs.yolov3_tiny(96, classes=1)).replace(right, wrong, 1))
    with pytest.raises(InputError) as error:
        from_darknet(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_missing_files_are_refused(saved, tmp_path):
    with pytest.raises(InputError, match=r"none\.cfg"):
        from_darknet(tmp_path / "none.cfg")
    with pytest.raises(InputError, match=r"none\.weights"):
        from_darknet(saved(cfgs.yolov3_tiny(96)).with_suffix(".cfg"), tmp_path / "none.weights")


def test_cfg_is_read_as_darknet_does(tmp_path):
    """White space counts nowhere, of a key given twice the first does, and # and ; start a comment."""
    path = Path(tmp_path / "odd.cfg")
    path.write_text(
        "# a comment\n; another\n [ net ] \nwidth = 3 2\nheight=32\t# here too\nheight=64\n\n"
        "[conv]\nfilters = 4\nunheard_of=of\nactivation=lin ear\n"
    )
    network = from_darknet(path).network
    assert network.input_shape == (3, 32, 32)
    assert network.layers[0].shape == (4, 32, 32)


def test_misspelled_keys_are_named(tmp_path):
    """Darknet goes on without them, and so must this."""
    cfg = cfgs.Cfg(32)
    cfg.add("convolutional", filters=4, activaton="leaky", learning_rate=0.1, stopbackward=1)
    (tmp_path / "odd.cfg").write_text(str(cfg))
    with pytest.warns(
        UserWarning, match=r"line 8, layer 0 \[convolutional\]: activaton is not read; is activation meant"
    ):
        from_darknet(tmp_path / "odd.cfg")


def test_suppression_that_is_not_there_is_named(tmp_path):
    (tmp_path / "odd.cfg").write_text(str(cfgs.yolov4_tiny(96)).replace("[yolo]", "[yolo]\nnms_kind=diounms"))
    with pytest.warns(UserWarning, match="nms_kind=diounms is read as greedynms"):
        from_darknet(tmp_path / "odd.cfg")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["yolov1_tiny", "yolov2_tiny", "yolov3", "yolov4", "alexnet"])
def test_published_cfgs_have_no_keys_that_look_misspelled(name):
    with torch.device("meta"):
        Darknet(str(getattr(cfgs, name)()))
