"""Local contrast normalization of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.precise import precise

_LEAST_VARIANCE = 1e-12  # of a blank image, whose contrast is 0


class LocalContrastNormalization(nn.Module):
    """Takes the mean around each pixel from it, and divides by the deviation there (Jarrett 2009, section 2).

        v = x - G * x        s = sqrt(G * v^2)        y = v / max(s, mean of s over the image)

    ``G`` is a Gaussian window over all channels together, which sums to 1. Beyond the border pixels repeat. SegNet
    normalizes its input so (Badrinarayanan 2015, section 4).

    Args:
        sigma: of the window, in pixels.
        radius: the window has ``2 radius + 1`` pixels along both axes.

    Raises:
        InputError: `sigma` is not above 0, or `radius` below 1.
    """

    def __init__(self, sigma: float = 1.5, radius: int = 4) -> None:
        super().__init__()
        if sigma <= 0 or radius < 1:
            raise InputError(
                f"LocalContrastNormalization needs a sigma above 0 and a radius of at least 1, got {sigma} and {radius}"
            )
        self.sigma, self.radius = sigma, radius

    def forward(self, images: Tensor) -> Tensor:
        """The normalized `images` ``(B, C, H, W)``, float32; float64 stays float64."""
        with torch.autocast(images.device.type, enabled=False):
            images = precise(images)
            centered = images - self._around(images)
            deviation = self._around(centered.square()).clamp(min=_LEAST_VARIANCE).sqrt()
            return centered / torch.maximum(deviation, deviation.mean(dim=(1, 2, 3), keepdim=True))

    def _around(self, values: Tensor) -> Tensor:
        """The mean ``(B, 1, H, W)`` of `values` ``(B, C, H, W)`` over channels and the window around each pixel."""
        offsets = torch.arange(-self.radius, self.radius + 1, dtype=values.dtype, device=values.device)
        window = torch.softmax(-0.5 * (offsets / self.sigma).square(), dim=0)
        padded = F.pad(values.mean(dim=1, keepdim=True), [self.radius] * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
