"""Local contrast normalization against scipy's Gaussian filter in float64."""

import random

import numpy as np
import pytest
import torch
from scipy import ndimage

from detkit.backbones import LocalContrastNormalization, SegNetBasicEncoder
from detkit.errors import InputError

SEEDS = [0, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")]


def by_scipy(image, sigma, radius):
    """The normalized image ``(C, H, W)``, by the equations of Jarrett 2009."""

    def around(values):
        return ndimage.gaussian_filter(values.mean(axis=0), sigma, truncate=radius / sigma, mode="nearest")

    centered = image - around(image)
    deviation = np.sqrt(around(centered**2))
    return centered / np.maximum(deviation, deviation.mean())


@pytest.mark.parametrize(("sigma", "radius"), [(1.5, 4), (2.5, 7), (0.7, 1)])
@pytest.mark.parametrize("seed", SEEDS)
def test_is_that_of_scipy(sigma, radius, seed):
    images = torch.rand(2, 3, 20, 13, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    images[1] *= torch.linspace(0.1, 5, 13)  # of another contrast at each place
    normalized = LocalContrastNormalization(sigma, radius)(images)
    for image, result in zip(images, normalized, strict=True):
        np.testing.assert_allclose(result.numpy(), by_scipy(image.numpy(), sigma, radius), rtol=1e-10, atol=1e-12)
    single = LocalContrastNormalization(sigma, radius)(images.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), normalized, rtol=1e-3, atol=1e-4)


def test_brightness_and_contrast_of_an_image_do_not_matter():
    images = torch.rand(1, 3, 20, 13, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    normalize = LocalContrastNormalization()
    torch.testing.assert_close(normalize(5 * images + 2), normalize(images), rtol=1e-9, atol=1e-9)


def test_a_blank_image_is_zero_and_has_a_finite_gradient():
    image = torch.full((1, 3, 9, 9), 0.5, requires_grad=True)
    normalized = LocalContrastNormalization()(image)
    normalized.square().sum().backward()
    assert normalized.abs().max() < 1e-3
    assert image.grad.isfinite().all()


def test_a_tiny_image_has_a_window_too():
    assert LocalContrastNormalization()(torch.rand(1, 3, 1, 2)).isfinite().all()


def test_segnets_encoder_sees_the_normalized_image():
    torch.manual_seed(0)
    plain, normalized = (
        SegNetBasicEncoder(1 / 16).eval(),
        SegNetBasicEncoder(1 / 16, LocalContrastNormalization()).eval(),
    )
    normalized.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 32, 48)
    expected = plain(LocalContrastNormalization()(images))
    for result, wanted in zip(normalized(images), expected, strict=True):
        assert torch.equal(result, wanted)


@pytest.mark.parametrize("arguments", [(0.0, 4), (1.5, 0)])
def test_windows_that_make_no_sense_are_refused(arguments):
    with pytest.raises(InputError, match="a sigma above 0 and a radius of at least 1"):
        LocalContrastNormalization(*arguments)
