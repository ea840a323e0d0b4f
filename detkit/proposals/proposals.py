"""The base class of region proposals that are not learned."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Proposals(ABC):
    """Finds regions of an image that may contain objects, deterministically.

    Attributes:
        identity: the settings and version that the proposals depend on besides the image, as text.
    """

    identity: str

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """The proposals of `image` ``(3, H, W)``, RGB, uint8 or float in [0, 1].

        Returns:
            Boxes ``(P, 4)`` float32 in pixels of the image, best first, on the CPU.
        """
