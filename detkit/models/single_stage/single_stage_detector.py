"""Single-stage detectors: one look, and every cell answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from detkit.backbones import Backbone, as_backbone
from detkit.errors import InputError
from detkit.heads import DenseHead
from detkit.heads.context import Candidates, Context
from detkit.models.asked import check_fields
from detkit.models.detector import Detector
from detkit.necks import Neck
from detkit.preprocess import Batch, Preprocess, ShortestEdge
from detkit.structures import Detections

MakeNeck = Callable[[list[int], list[int]], Neck]
MakeHead = Callable[[list[int], list[int], int], DenseHead]


class SingleStageDetector(Detector):
    """A trunk, perhaps a neck, and one head that answers at every cell.

        images -> backbone -> neck -> head -> detections

    Parts that build on others are given as callables, which get the sizes of what they stand on: a class, or
    ``functools.partial(RetinaNetHead, convolutions=2)``. In a config they are a ``class_path`` with the other
    ``init_args``. A part that is built already is taken as it is.

    Args:
        backbone: the trunk; or the name of a torchvision or timm net, of which `stages` are taken.
        num_classes: classes without background.
        neck: called with the trunk's channels and strides; nothing passes the trunk's maps on.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes, normalizes and pads; nothing is a `ShortestEdge`.
        loss_weights: factor of each named loss; those not named count once.

    Attributes:
        stages: what is taken of a trunk that is given by its name, see `detkit.backbones.TorchvisionBackbone`.

    Raises:
        InputError: there is no head.
    """

    stages: Sequence[int] = (3, 4, 5)

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck | Neck | None = None,
        head: MakeHead | DenseHead | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(num_classes)
        if head is None:
            raise InputError(f"a {type(self).__name__} needs a head, such as detkit.heads.RetinaNetHead")
        self.preprocess = preprocess or ShortestEdge()
        self.backbone = as_backbone(backbone, self.stages)
        maps: Backbone | Neck = self.backbone
        if neck is not None:
            maps = neck if isinstance(neck, nn.Module) else neck(maps.channels, maps.strides)
        self.neck = nn.Identity() if neck is None else maps
        self.head = head if isinstance(head, nn.Module) else head(maps.channels, maps.strides, num_classes)
        self.loss_weights = dict(loss_weights or {})
        check_fields(self)

    def features(self, batch: Batch) -> list[Tensor]:
        """The neck's maps ``(B, Ci, Hi, Wi)``, finest first."""
        return self.neck(self.backbone(batch.images))

    def heads(self, features: list[Tensor], context: Context) -> Any:
        """What the head says at every cell."""
        return self.head(features, context)

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The head's losses."""
        return self.head.losses(raw, context)

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """The head's."""
        return self.head.candidates(raw, context)

    def assign(self, raw: Any, context: Context) -> Tensor:
        """The head's."""
        return self.head.assign(raw, context)

    def decode(self, raw: Any, context: Context | Batch) -> list[Detections]:
        """What the head finds in `raw` of a batch, in pixels of the images as given."""
        return self.head.decode(raw, context if isinstance(context, Context) else Context(context))
