"""What every source of regions that are not learned promises."""

from __future__ import annotations

from torch import Tensor


class Proposals:
    """Finds regions of an image that may be objects, the same ones each time.

    Attributes:
        identity: what the regions depend on beside the image, settings and version, in words.
    """

    identity: str

    def __call__(self, image: Tensor) -> Tensor:
        """The regions of `image` ``(3, H, W)``, RGB, uint8 or float in [0, 1].

        Returns:
            Boxes ``(P, 4)`` float32 in pixels of the image, best first, on the CPU.
        """
        raise NotImplementedError
