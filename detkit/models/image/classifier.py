"""Image classification: any backbone, with its own last layers or with one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor, nn

from detkit.backbones import Backbone, classifier, zero_last_gamma
from detkit.errors import InputError
from detkit.heads import ClassificationHead
from detkit.heads.class_rows import ClassRows, outputs_of
from detkit.heads.context import Context
from detkit.heads.image.classification import ClassificationOutput
from detkit.models.predicting import Given, Images, Score, StreamInput
from detkit.models.predicting.image_inputs import ImageInput
from detkit.models.single_head import SingleHeadModel
from detkit.preprocess import Batch, CenterCrop, Preprocess
from detkit.structures import Classification, Target


class Classifier(SingleHeadModel):
    """The class of each image.

        images -> net by its name, with its own fully connected layers -> head -> classes and scores
        images -> backbone -> head, with a linear layer on its coarsest map -> classes and scores

    Targets need an ``image_label``; the answer for each image is a `Classification`.

    Args:
        net: the name of a whole net for `detkit.backbones.classifier`, such as ``resnet50``, which loads the weight
            files of its library; or any backbone.
        num_classes: number of classes.
        weights: of a net by its name: None for random weights, ``DEFAULT`` for the library's download, or the path of a
            weights file. With another number of classes the last layer stays as initialized.
        head: called with the channels of the backbone's coarsest map, or None for a net by its name, and the number of
            classes.
        preprocess: resizes, crops and normalizes; None crops 224 of 256 pixels, or the same share of the size that the
            net was designed for.
        zero_gamma: initialize each residual block as the identity, see `detkit.backbones.zero_last_gamma`.

    Raises:
        InputError: unknown name, weights that do not fit or cannot be downloaded, or `weights` together with a backbone
            or with `zero_gamma`.
    """

    task = "detkit.tasks.Classification"
    num_classes: int
    net: nn.Module

    def __init__(
        self,
        net: str | Backbone,
        num_classes: int,
        weights: str | None = None,
        head: Callable[[int | None, int], ClassificationHead] = ClassificationHead,
        preprocess: Preprocess | None = None,
        zero_gamma: bool = False,
    ) -> None:
        super().__init__(num_classes)
        self.learns_from = frozenset({"image_label"})
        if weights is not None and (zero_gamma or not isinstance(net, str)):
            why = "zero_gamma would undo them" if isinstance(net, str) else f"the {type(net).__name__} takes its own"
            raise InputError(f"the classifier's weights are {weights}, but {why}: leave out one of the two")
        self.net = classifier(net, num_classes, weights) if isinstance(net, str) else net
        size = getattr(self.net, "training_size", 224)
        self.preprocess = preprocess or CenterCrop((size, size), shorter_side=round(size * 256 / 224))
        self.head = head(None if isinstance(net, str) else net.channels[-1], num_classes)
        if zero_gamma:
            zero_last_gamma(self.net)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The last layers of a net by its name, and those of its auxiliary classifiers."""
        if isinstance(self.net, Backbone):
            return {}
        layers = {name: layer for name, layer in self.net.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
        last = next(reversed(layers), "")
        logits = [name for name in layers if name == last or "aux" in name.lower()]
        return {
            f"net.{name}": ClassRows(type(layers[name]).reset_parameters)
            for name in logits
            if outputs_of(layers[name]) == self.num_classes
        }

    def features(self, batch: Batch) -> Any:
        """The backbone's maps, finest first, or the logits of a net by its name."""
        return self.net(batch.images)

    def heads(self, features: Any, context: Context) -> ClassificationOutput:
        """Class logits ``(B, K)``."""
        raw: ClassificationOutput = self.head(features[-1] if isinstance(self.net, Backbone) else features, context)
        return raw

    if TYPE_CHECKING:  # the type of the answers; the methods are those of `VisionModel`

        @overload
        def predict(  # type: ignore[overload-overlap]  # a path is also a sequence of strings
            self, inputs: ImageInput, batch_size: int = 8, given: Target | None = None, *, score_threshold: Score = None
        ) -> Classification: ...

        @overload
        def predict(
            self, inputs: Images, batch_size: int = 8, given: Given = None, *, score_threshold: Score = None
        ) -> list[Classification]: ...

        def predict(self, inputs: Any, *arguments: Any, **options: Any) -> Any: ...

        def stream(
            self, source: StreamInput, batch_size: int | None = None, *, score_threshold: Score = None
        ) -> Generator[Classification, None, None]: ...

        def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> list[Classification]: ...
