"""Single-stage detectors: a backbone, a neck and one dense head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from detkit.backbones import Backbone, as_backbone
from detkit.errors import InputError
from detkit.heads import DenseHead
from detkit.heads.context import Context
from detkit.models.detector import Detector
from detkit.models.required_fields import check_fields
from detkit.models.single_head import SingleHeadModel
from detkit.necks import Neck
from detkit.preprocess import Batch, Preprocess, ShortestEdge
from detkit.structures import Detections

MakeNeck = Callable[[list[int], list[int]], Neck]
MakeHead = Callable[[list[int], list[int], int], DenseHead]
Part = TypeVar("Part", bound=nn.Module)


class SingleStageDetector(SingleHeadModel, Detector):
    """A backbone, optionally a neck, and one head that predicts at every location.

        images -> backbone -> neck -> head -> detections

    Parts are given as callables, which are called with the sizes of their inputs: a class, or
    ``functools.partial(RetinaNetHead, convolutions=2)``. In a config they are a ``class_path`` with the other
    ``init_args``. A part that is built already is taken as it is.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose `stages` are used.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides; None passes the backbone's maps on.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes, normalizes and pads; None is a `ShortestEdge`.
        loss_weights: factor of each named loss; 1 where not named.

    Attributes:
        stages: the stages of a backbone that is given by its name, see `detkit.backbones.TorchvisionBackbone`.

    Raises:
        InputError: there is no head.
    """

    stages: Sequence[int] = (3, 4, 5)
    neck: nn.Module
    head: DenseHead

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
            maps = _built(neck, maps.channels, maps.strides)
        self.neck = nn.Identity() if neck is None else maps
        self.head = _built(head, maps.channels, maps.strides, num_classes)
        self.loss_weights = dict(loss_weights or {})
        check_fields(self)

    def features(self, batch: Batch) -> list[Tensor]:
        """The neck's maps ``(B, Ci, Hi, Wi)``, finest first."""
        maps: list[Tensor] = self.neck(self.backbone(batch.images))
        return maps

    def heads(self, features: list[Tensor], context: Context) -> Any:
        """The head's raw outputs."""
        return self.head(features, context)

    def decode(self, raw: Any, context: Context | Batch) -> list[Detections]:
        """The head's detections, in pixels of the images as given."""
        return self.head.decode(raw, context if isinstance(context, Context) else Context(context))


def _built(part: Part | Callable[..., Part], *sizes: Any) -> Part:
    """`part`, or what it makes if it is a callable and not a module yet."""
    return cast(Part, part) if isinstance(part, nn.Module) else part(*sizes)
