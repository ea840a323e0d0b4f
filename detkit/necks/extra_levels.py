"""Maps coarser than a pyramid's coarsest, for objects larger than its cells are made for."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ExtraLevels(nn.Module):
    """Coarser maps, each of half the size of the one before.

    A pyramid builds it as ``extra_levels(in_channels, out_channels)``: channels of the trunk's coarsest map and of the
    pyramid's maps. Further arguments come from the config.

    Attributes:
        count: how many maps it makes.
    """

    count: int

    def forward(self, feature: Tensor, coarsest: Tensor) -> list[Tensor]:
        """The maps, finest first.

        Args:
            feature: the trunk's coarsest map, C5, ``(B, in_channels, H, W)``.
            coarsest: the pyramid's coarsest map, P5, ``(B, out_channels, H, W)``.
        """
        raise NotImplementedError


class EveryOtherCell(ExtraLevels):
    """P6 is every other cell of P5, for the largest anchors of region proposals (FPN, section 4.1, footnote 1)."""

    count = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()

    def forward(self, feature: Tensor, coarsest: Tensor) -> list[Tensor]:
        return [F.max_pool2d(coarsest, kernel_size=1, stride=2)]


class StridedConvolutions(ExtraLevels):
    """P6 and P7 by convolutions of stride 2 (RetinaNet, section 4, footnote 2).

        C5 or P5 --3x3, stride 2--> P6 --ReLU--3x3, stride 2--> P7

    Args:
        in_channels: channels of C5.
        out_channels: channels of the pyramid's maps.
        from_trunk: start at C5, as RetinaNet does, and not at P5, as FCOS does.
    """

    count = 2

    def __init__(self, in_channels: int, out_channels: int, from_trunk: bool = False) -> None:
        super().__init__()
        self.from_trunk = from_trunk
        self.p6 = nn.Conv2d(in_channels if from_trunk else out_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, feature: Tensor, coarsest: Tensor) -> list[Tensor]:
        p6 = self.p6(feature if self.from_trunk else coarsest)
        return [p6, self.p7(F.relu(p6))]
