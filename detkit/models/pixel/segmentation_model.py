"""Whole-image segmentation: a backbone, a neck and a pixel head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from detkit.backbones import Backbone, as_backbone
from detkit.errors import InputError
from detkit.heads.context import Context
from detkit.heads.pixel.pixel_head import PixelHead
from detkit.models.answers import Answer
from detkit.models.pixel.connected_objects import ConnectedObjects
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.required_fields import check_fields
from detkit.models.vision_model import VisionModel
from detkit.necks import Neck
from detkit.preprocess import Batch, OriginalSize, Preprocess
from detkit.structures import Target

AUXILIARY_WEIGHT = 0.5  # torchvision's

MakePixelHead = Callable[[list[int], list[int], int], PixelHead]


class SegmentationModel(VisionModel):
    """A class for each pixel, from any backbone and any pixel head.

        images -> backbone -> neck -+-> head -> class logits of each pixel
                                    +-> auxiliary heads, only for losses

    Targets need a ``label_map``; the answer for each image is a `SemanticMap`, or with `objects` a `PanopticMap`.

    Args:
        backbone: any backbone, or the name of a torchvision or timm net, whose `stages` are used.
        num_classes: classes, background included where the data has it.
        head: called with the channels and strides of the maps and the number of classes.
        neck: called with the channels and strides of the backbone's maps; None passes them on.
        preprocess: resizes, normalizes and pads; None leaves images at their size.
        loss_weights: factor of each named loss, or of all that begin with a name; where not named 0.5 of
            ``auxiliary``, as in torchvision's training, and 1 of others.
        inference: how whole images are answered, such as a `SlidingWindow`; None: at once. It may be set later.
        auxiliary: further heads by name, called as `head`, whose logits the losses of `head` compare as well (deep
            supervision): ``auxiliary.NAME.semantic`` and so on. They are not computed without targets.
        objects: makes objects of the pixels of things; None: the model answers with classes of pixels alone.

    Attributes:
        stages: the stages of a backbone that is given by its name.
        output_stride: the largest stride of such a backbone, by dilation; None: its own.
    """

    task = "detkit.tasks.Segmentation"
    stages: Sequence[int] = (2, 3, 4, 5)
    output_stride: int | None = None

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: MakePixelHead,
        neck: Callable[[list[int], list[int]], Neck] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
        auxiliary: Mapping[str, MakePixelHead] | None = None,
        objects: ConnectedObjects | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.preprocess = preprocess or OriginalSize()
        self.backbone = as_backbone(backbone, self.stages, self.output_stride)
        maps: Backbone | Neck = self.backbone if neck is None else neck(self.backbone.channels, self.backbone.strides)
        self.neck = nn.Identity() if neck is None else maps
        self.head = head(maps.channels, maps.strides, num_classes)
        self.auxiliary = nn.ModuleDict(
            {name: make(maps.channels, maps.strides, num_classes) for name, make in (auxiliary or {}).items()}
        )
        self.loss_weights = ({"auxiliary": AUXILIARY_WEIGHT} if auxiliary else {}) | dict(loss_weights or {})
        self.inference = inference
        self.objects = objects
        if objects is not None:
            self.task = "detkit.tasks.SegmentedObjects"
        check_fields(self)

    def features(self, batch: Batch) -> list[Tensor]:
        """The neck's maps, finest first."""
        maps: list[Tensor] = self.neck(self.backbone(batch.images))
        return maps

    def heads(self, features: Any, context: Context) -> Any:
        """The head's class logits, and for losses those of the auxiliary heads."""
        raw = self.head(features, context)
        if context.targets is None or not self.auxiliary:
            return raw
        further = {name: head(features, context).logits for name, head in self.auxiliary.items()}
        return raw._replace(auxiliary={**raw.auxiliary, **further})

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The head's losses."""
        return self.head.losses(raw, context)

    def decode(self, raw: Any, context: Context) -> Sequence[Answer]:
        """The class of each pixel of the images as given, and the `objects` if the model makes them."""
        if self.objects is None:
            return self.head.decode(raw, context)
        return self.answers(self.head.full_logits(raw, context), context.batch, raw.margin)

    def answers(self, logits: Tensor, batch: Batch, margin: int) -> Sequence[Answer]:
        """The answers for the images as given in logits of all pixels; arguments as of `PixelHead.answers`."""
        classes = self.head.answers(logits, batch, margin)
        if self.objects is None:
            return classes
        return self.objects.answers(classes, batch.restore_maps(logits, margin), self.categories)

    def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> Sequence[Answer]:
        """The class of each pixel of `images`, by the `inference` of the model.

        Raises:
            InputError: the model asks for fields of each image, which an `inference` cannot cut and resize with it.
        """
        if self.inference is not None:
            if self.asks_for:
                raise InputError(
                    f"{type(self).__name__} asks for {', '.join(sorted(self.asks_for))} of each image, which "
                    f"{type(self.inference).__name__} cannot pass on: set inference=None"
                )
            return self.inference.answers(self, images)
        return super().detect(images, given)

    def decode_padded(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The class of each pixel in the frame of the network."""
        return self.head.decode_padded(raw, context).outputs()

    @property
    def left_out_of_graphs(self) -> str:
        """The `inference`, where it is not one pass of the whole image."""
        return "" if self.inference is None else self.inference.left_out_of_graphs

    def answer_as_graph_(self) -> None:
        """Without `inference`."""
        self.inference = None
