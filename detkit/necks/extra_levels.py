"""Extra levels of a feature pyramid: maps coarser than its coarsest one, for large objects."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.deprecation import MovedAttribute
from detkit.deprecation.renamed_arguments import takes_old_names


class ExtraLevels(nn.Module):
    """Base class: makes coarser maps, each of half the size of the one before.

    A pyramid builds it as ``extra_levels(in_channels, out_channels)``: channels of the backbone's coarsest map and of
    the pyramid's maps. Further arguments come from the config.

    Attributes:
        count: number of maps.
    """

    count: int

    def forward(self, feature: Tensor, coarsest: Tensor) -> list[Tensor]:
        """The maps, finest first.

        Args:
            feature: the backbone's coarsest map, C5, ``(B, in_channels, H, W)``.
            coarsest: the pyramid's coarsest map, P5, ``(B, out_channels, H, W)``.
        """
        raise NotImplementedError


class EveryOtherCell(ExtraLevels):
    """P6 is every other cell of P5, for the largest anchors of an RPN (FPN, section 4.1, footnote 1)."""

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
        from_backbone: start from C5, as RetinaNet does, instead of P5, as FCOS does.
    """

    count = 2
    from_trunk = MovedAttribute("from_backbone")

    @takes_old_names
    def __init__(self, in_channels: int, out_channels: int, from_backbone: bool = False) -> None:
        super().__init__()
        self.from_backbone = from_backbone
        self.p6 = nn.Conv2d(in_channels if from_backbone else out_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, feature: Tensor, coarsest: Tensor) -> list[Tensor]:
        p6 = self.p6(feature if self.from_backbone else coarsest)
        return [p6, self.p7(F.relu(p6))]
