"""Whole-image inference by windows and views, against sums written out over all windows."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detkit.backbones import UNetEncoder
from detkit.errors import InputError
from detkit.heads import PixelHead
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.models import SegmentationModel, UNet
from detkit.models.pixel.inference import SlidingWindow, Views, Whole
from detkit.models.pixel.inference.bands import starts
from detkit.models.pixel.inference.frames import ShiftedFrame, frame_of
from detkit.preprocess import CenterCrop, Letterbox, MirroredBorders, OriginalSize, ShortestEdge
from detkit.structures import Target


class Plain(nn.Module):
    """A backbone that passes the pixels on."""

    channels, strides = [3], [1]

    def forward(self, images):
        return [images]


class Convolved(PixelHead):
    """Logits by one convolution of `size`, without padding."""

    def __init__(self, channels, strides, num_classes, size=1, padded=False):
        super().__init__(num_classes)
        self.margin = 0 if padded else size // 2
        self.conv = nn.Conv2d(channels[-1], num_classes, size, padding=size // 2 if padded else 0)

    def forward(self, features, context):
        return PixelOutput(self.conv(features[-1]), margin=self.margin)


MIRRORED = MirroredBorders(margin=2, least=1, step=1)


def make_model(size=1, padded=False, preprocess=None, inference=None, num_classes=4):
    torch.manual_seed(3)
    head = partial(Convolved, size=size, padded=padded)
    return SegmentationModel(Plain(), num_classes, head, preprocess=preprocess, inference=inference).eval()


def frame_logits(model, image):
    """The logits of a whole preprocessed image."""
    return model.heads([model.preprocess([image]).images], None).logits


@pytest.mark.parametrize(("length", "window", "stride"), [(10, 4, 3), (4, 4, 2), (3, 8, 5), (17, 5, 5), (100, 7, 1)])
def test_windows_cover_the_line_and_stay_on_it(length, window, stride):
    found = starts(length, window, stride)
    covered = {pixel for start in found for pixel in range(start, start + window)}
    assert covered >= set(range(length))
    assert found == sorted(set(found))
    assert max(found) + window <= max(length, window)


@pytest.mark.parametrize("preprocess", [OriginalSize(), OriginalSize(divisor=8), ShortestEdge(30, 60)])
@pytest.mark.parametrize("gaussian", [None, 0.2])
def test_windows_of_a_pixelwise_net_give_what_the_whole_gives(preprocess, gaussian):
    model, image = make_model(preprocess=preprocess), torch.randint(0, 256, (3, 37, 53), dtype=torch.uint8)
    whole = model([image])[0].label_map
    model.inference = SlidingWindow((16, 20), (7, 9), gaussian, batch_size=3)
    assert (model([image])[0].label_map == whole).float().mean() > 0.999


@pytest.mark.parametrize("gaussian", [None, 0.125])
@pytest.mark.parametrize("seed", range(3))
def test_the_logits_of_windows_are_averaged(gaussian, seed):
    random = np.random.default_rng(seed)
    height, width = (int(one) for one in random.integers(9, 40, 2))
    size, stride = (12, 10), (5, 7)
    model = make_model(size=5, padded=True)
    image = torch.from_numpy(random.random((3, height, width), dtype=np.float32))
    model.inference = SlidingWindow(size, stride, gaussian, batch_size=2)
    pixels = F.pad(model.preprocess([image]).images, (0, max(0, size[1] - width), 0, max(0, size[0] - height))).double()
    net = model.head.conv.double()
    total = torch.zeros(4, *pixels.shape[-2:], dtype=torch.float64)
    weight = torch.zeros(pixels.shape[-2:], dtype=torch.float64)
    bells = [
        torch.exp(-0.5 * (((torch.arange(side) + 0.5) / side - 0.5) / (gaussian or 1)).double() ** 2) for side in size
    ]
    bell = torch.ones(size).double() if gaussian is None else (bells[0][:, None] * bells[1]).clamp(min=1e-4)
    for top in starts(height, size[0], stride[0]):
        for left in starts(width, size[1], stride[1]):
            rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
            total[:, rows, columns] += net(pixels[..., rows, columns])[0] * bell
            weight[rows, columns] += bell
    expected = (total / weight)[:, :height, :width].argmax(dim=0)
    model.float()
    assert (model([image])[0].label_map == expected).float().mean() > 0.99  # the rest are near ties of float32


@pytest.mark.parametrize("stride", [None, (8, 8), (3, 5)])
def test_overlapping_tiles_with_mirrored_borders_are_the_whole_unpadded_net(stride):
    """Ronneberger 2015, figure 2: tiles without padding join without seams."""
    model, image = make_model(size=5, preprocess=MIRRORED), torch.rand(3, 29, 41)
    whole = model([image])[0].label_map
    assert (whole != 255).all()
    model.inference = SlidingWindow((12, 12), stride or (8, 8))
    assert torch.equal(model([image])[0].label_map, whole)


@pytest.mark.parametrize(
    ("preprocess", "is_shifted"),
    [
        (OriginalSize(), True),
        (MirroredBorders(), True),
        (MirroredBorders(Letterbox((37, 37)), 3, 4, 4), False),
        (MirroredBorders(CenterCrop((20, 20), 29), 3, 4, 4), False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_windows_show_the_pixels_of_the_whole_preprocessed_image(preprocess, is_shifted, dtype):
    image = torch.randint(0, 256, (3, 29, 37), dtype=torch.uint8)
    image = image if dtype == torch.uint8 else image / 255
    frame, batch = frame_of(image, preprocess), preprocess([image])
    assert isinstance(frame, ShiftedFrame) == is_shifted
    assert frame.size == batch.padded_size
    whole = torch.cat([frame.window(top, 0, (7, frame.size[1])) for top in range(0, frame.size[0], 7)], dim=1)
    assert torch.allclose(whole[:, : frame.size[0]], batch.images[0], atol=1e-6)


def test_windows_that_leave_pixels_out_are_refused():
    model = make_model(size=5, preprocess=MIRRORED, inference=SlidingWindow((12, 12), (9, 8)))
    with pytest.raises(InputError, match="stride of at most 8"):
        model([torch.rand(3, 29, 41)])
    with pytest.raises(InputError, match="gaps"):
        SlidingWindow((8, 8), (9, 8))
    with pytest.raises(InputError, match="positive"):
        SlidingWindow((8, 0))


def test_views_are_the_mean_of_probabilities():
    model, image = make_model(size=3, padded=True), torch.rand(3, 24, 32)
    pixels = model.preprocess([image]).images
    views = []
    for scale in (0.5, 1.0, 1.75):
        scaled = (
            pixels
            if scale == 1
            else F.interpolate(pixels, size=(round(24 * scale), round(32 * scale)), mode="bilinear")
        )
        for axes in ([], [-1]):
            logits = model.head.conv(scaled.flip(axes)).flip(axes)
            views.append(F.interpolate(logits, size=(24, 32), mode="bilinear").softmax(dim=1))
    expected = torch.stack(views).mean(dim=0)[0].argmax(dim=0)
    for inference in (Whole, partial(SlidingWindow, (24, 32))):
        model.inference = inference(views=Views((0.5, 1.0, 1.75), horizontal_flip=True))
        assert (model([image])[0].label_map == expected).float().mean() > 0.995


def test_scaled_views_keep_to_the_divisor_of_batches():
    seen = []
    model = make_model(
        size=3, padded=True, preprocess=OriginalSize(divisor=16), inference=Whole(Views((0.5, 1.0, 1.2)))
    )
    model.backbone.register_forward_hook(lambda module, inputs, maps: seen.append(tuple(inputs[0].shape[-2:])))
    assert model([torch.rand(3, 1, 1)])[0].label_map.shape == (1, 1)
    assert model([torch.rand(3, 60, 90)])[0].label_map.shape == (60, 90)
    assert seen == [(16, 16)] * 3 + [(64, 96), (32, 48), (80, 112)]


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (15, 40)])
@pytest.mark.parametrize("divisor", [1, 16])
def test_images_smaller_than_a_window_or_the_divisor(size, divisor):
    model, image = make_model(preprocess=OriginalSize(divisor=divisor)), torch.rand(3, *size)
    expected = model([image])[0].label_map
    for make in (Whole, partial(SlidingWindow, (16, 20)), partial(SlidingWindow, (16, 20), (9, 7), 0.2)):
        model.inference = make(views=Views(horizontal_flip=True, vertical_flip=True))
        assert torch.equal(model([image])[0].label_map, expected)
        model.inference = make(views=Views((0.1, 0.5, 1.0, 1.6)))
        assert model([image])[0].label_map.shape == size


def test_views_are_no_smaller_than_a_cell_of_the_network():
    """A pooling net cannot take less, however small a scale is."""
    model = make_model(size=3, padded=True, inference=Whole(Views((0.1, 1.0))))
    model.backbone.strides = [8]
    seen = []
    model.backbone.register_forward_hook(lambda module, inputs, maps: seen.append(tuple(inputs[0].shape[-2:])))
    model([torch.rand(3, 40, 200)])
    model([torch.rand(3, 5, 9)])
    assert sorted(seen) == [(5, 8), (5, 9), (8, 20), (40, 200)]


def test_scales_of_a_net_without_padding_are_refused():
    model = make_model(size=5, preprocess=MIRRORED)
    for scales in ((1.0, 1.5), (1.5,)):
        model.inference = Whole(Views(scales))
        with pytest.raises(InputError, match=r"leave out the scale 1\.5"):
            model([torch.rand(3, 20, 20)])
    unet = UNet(UNetEncoder(width=1 / 64), 2, inference=Whole(Views((0.5, 1.0)))).eval()
    with pytest.raises(InputError, match=r"leave out the scale 0\.5"):
        unet([torch.rand(3, 20, 20)])
    model.inference = Whole(Views(vertical_flip=True))
    assert model([torch.rand(3, 20, 20)])[0].label_map.shape == (20, 20)


def test_outputs_that_are_not_finite_are_warned_of():
    model = make_model(inference=SlidingWindow((8, 8)))
    nn.init.constant_(model.head.conv.bias, float("nan"))
    with pytest.warns(UserWarning, match="not finite"):
        model([torch.rand(3, 12, 12)])


_LARGE = """
import resource, sys, torch
sys.path.insert(0, {folder!r})
from test_inference import make_model
from detkit.models.pixel.inference import SlidingWindow
model = make_model(size=5, padded=True, num_classes=19, inference=SlidingWindow((512, 512), (448, 448)))
image = torch.zeros(3, {height}, {width}, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
label_map = model([image])[0].label_map
print(label_map.shape == image.shape[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_the_memory_of_windows_does_not_grow_with_the_height_of_the_image():
    """What a band of 512 rows takes, not what the logits of the whole image would: 19 x 4 bytes for each pixel."""
    code = _LARGE.format(folder=str(__file__).rpartition("/")[0], height=6000, width=4000)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    fits, kilobytes = done.stdout.split()
    assert fits == "True"
    assert int(kilobytes) * 1024 < 0.6 * 6000 * 4000 * 19 * 4


@pytest.mark.parametrize("inference", [Whole(), SlidingWindow((8, 8))], ids=["whole", "windows"])
def test_what_it_cannot_pass_on_is_named(inference):
    model = make_model(inference=inference)
    model.head.asks_for = "camera"
    given = [Target(camera=torch.eye(3))]
    with pytest.raises(InputError, match=rf"asks for camera of each image, which {type(inference).__name__} cannot"):
        model.predict([torch.rand(3, 16, 16)], given=given)
    model.inference = None
    assert model.predict([torch.rand(3, 16, 16)], given=given)[0].label_map.shape == (16, 16)
