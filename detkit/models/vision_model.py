"""`VisionModel`, the base class of models."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.context import Candidates, Context
from detkit.heads.raw_outputs import note, noting
from detkit.models.answers import Answer
from detkit.models.check_inputs import check_given, check_images, check_targets
from detkit.models.folding import folded, forget
from detkit.models.loss_weights import weight_losses
from detkit.models.not_finite import warn_if_not_finite
from detkit.models.precision import keep_float32, own_precision
from detkit.models.predicting import Given, Images, Score, StreamInput, predict, stream
from detkit.models.predicting.image_inputs import ImageInput
from detkit.models.required_fields import RequiredFields
from detkit.models.saving import Saved
from detkit.preprocess import Batch, Preprocess
from detkit.structures import Target
from detkit.structures.model_categories import ModelCategories
from detkit.structures.weights_source import Provenance

if TYPE_CHECKING:  # tasks stand above models
    from detkit.tasks import Task


class VisionModel(Saved, nn.Module):
    """A model: losses where targets are given, predictions where not.

        images -> preprocess -> features -> heads -+-> losses
                                                   +-> decode -> answers

    A subclass implements `features`, `heads`, `losses` and `decode`, or replaces `compute_losses` and `detect`. What a
    call returns depends on its arguments only, never on ``training``.

    Args:
        num_classes: classes without background; None for a model without classes.

    Attributes:
        preprocess: places images in the network's frame.
        loss_weights: factor of each named loss; 1 where not named.
        asks_for: the fields of `Target` that it and its modules need with each image also at inference.
        categories: the category of each label as the data set names it; None until known. Names may be set too.
        learns_from: the fields of `Target` that it and its modules learn from in addition to boxes and labels.
        provenance: the `WeightsSource` of each file that its weights have started from; empty if they were random.
        task: the kind of its answers, which decides how they are evaluated, drawn and written: a `detkit.tasks.Task`,
            or the import path of one. `detkit.tasks.task_of` gives the object.
        clips_boxes: whether the boxes of its answers are clipped to the image; darknet's own networks do not.
    """

    task: Task | str
    preprocess: Preprocess
    loss_weights: Mapping[str, float] = {}
    learns_from = RequiredFields()
    asks_for = RequiredFields()
    clips_boxes: bool = True
    provenance = Provenance()
    categories = ModelCategories()
    _folded_from: VisionModel | None = None  # the model that a copy for inference is of

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor] | Sequence[Answer]:
        """Losses of `images` against `targets`, or without `targets` the answers for `images`.

        Args:
            images: ``(3, H, W)`` each, RGB, uint8 or float in [0, 1], of any sizes.
            targets: ground truth of each image, in its pixels.
            given: the fields that the model `asks_for` of each image, in its pixels; None takes them from the targets.
            generator: the source of all random sampling; None is torch's default.

        Returns:
            Named scalar losses, weighted, to be summed; or the answer for each image in its own pixels.

        Raises:
            InputError: an image or a target is invalid; the message says which and why.
        """
        check_images(images)
        options: dict[str, Any] = {}
        required = self.asks_for
        if required or given is not None:
            options["given"] = targets if given is None else given
            check_given(images, options["given"], required)
        with own_precision(self):
            if targets is None:
                return self._checked_answers(images, options)
            check_targets(images, targets, self.num_classes)
            if generator is not None:
                options["generator"] = generator
            return self.compute_losses(images, targets, **options)

    def _checked_answers(self, images: Sequence[Tensor], options: dict[str, Any]) -> Sequence[Answer]:
        """Those of `detect`, with a warning if an output of the network is not finite."""
        model = self._folded_from or self
        with noting() as notes:
            answers = self.detect(images, **options)
        warn_if_not_finite(model, notes, images, lambda: model.detect(images, **options))
        return answers

    def features(self, batch: Batch) -> Any:
        """The input of the heads: maps of the preprocessed images, finest first."""
        raise NotImplementedError

    def heads(self, features: Any, context: Context) -> Any:
        """The raw outputs of the heads for `features`; without targets it can be exported as one graph."""
        raise NotImplementedError

    def outputs(self, raw: Any) -> Any:
        """The part of `raw` that is checked: an output that is not finite is warned of."""
        return raw

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step."""
        raise NotImplementedError

    def decode(self, raw: Any, context: Context) -> Sequence[Answer]:
        """The answers of each image, in its own pixels."""
        raise NotImplementedError

    @property
    def graph_fields(self) -> frozenset[str]:
        """The fields of `Target` that an exported graph takes beside images: by default what the model asks for."""
        return frozenset(self.asks_for)

    def decode_padded(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The answers of a batch in the network's frame as tensors of fixed size, by the names of an exported graph.

        `detkit.exporting` makes it part of the graph: with `detkit.ops.is_exporting`, shapes must not depend on values,
        and the sizes of the images are a tensor.
        """
        raise NotImplementedError

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """All possible detections, before suppression; differentiable and independent of the targets."""
        raise NotImplementedError

    def assign(self, raw: Any, context: Context) -> Tensor:
        """The object that each of the `candidates` is to predict ``(N,)``; see `DenseHead.assign`."""
        raise NotImplementedError

    def raw(self, images: Tensor) -> Any:
        """Backbone, neck and heads only: tensors to tensors, without postprocessing.

        Args:
            images: ``(B, 3, H, W)``, preprocessed.
        """
        batch = Batch(images)
        return self.heads(self.features(batch), Context(batch))

    def context(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> Context:
        """The preprocessed batch, with targets and given fields in the network's frame."""
        batch = self.preprocess(images)
        moved_targets = None if targets is None else self.preprocess.targets(targets, batch)
        moved_given = moved_targets if given is targets or given is None else self.preprocess.targets(given, batch)
        return Context(batch, moved_targets, moved_given, generator)

    def compute_losses(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target],
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Named scalar losses, weighted; the same names at every step."""
        context = self.context(images, targets, given, generator)
        losses = self.losses(self.heads(self.features(context.batch), context), context)
        return weight_losses(losses, self.loss_weights)

    def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> Sequence[Answer]:
        """The answers for each image, in its own pixels."""
        context = self.context(images, given=given)
        raw = self.heads(self.features(context.batch), context)
        note("the heads", self.outputs(raw))
        return self.decode(raw, context)

    # Any, not Answer: which class a loaded model has, and so what it answers, is known to its user alone.
    @overload
    def predict(
        self, inputs: ImageInput, batch_size: int = 8, given: Target | None = None, *, score_threshold: Score = None
    ) -> Any: ...

    @overload
    def predict(
        self, inputs: Images, batch_size: int = 8, given: Given = None, *, score_threshold: Score = None
    ) -> Sequence[Any]: ...

    def predict(
        self,
        inputs: ImageInput | Images,
        batch_size: int = 8,
        given: Target | Given = None,
        *,
        score_threshold: Score = None,
    ) -> Answer | Sequence[Answer]:
        """The answers for images, in evaluation mode, on the device of the model, in batches.

        Batch norm is folded into convolutions, see `folded`. Answers know their image and the model's categories.

        Args:
            inputs: an image or a sequence of images, each the path of a file, an http or https address, a PIL image, a
                ``(H, W, 3)`` uint8 RGB array, or a ``(3, H, W)`` RGB tensor, uint8 or float in [0, 1]; or a folder or
                glob pattern of images.
            batch_size: images that pass through the network at once.
            given: the fields that the model `asks_for` of the image, or of each, in its pixels.
            score_threshold: the least score of what is answered; None leaves nothing out.

        Returns:
            The answer on the CPU for one image, a list of them for a sequence, a folder (sorted by name) or a pattern.

        Raises:
            InputError: a file cannot be read, an input is no image, or `batch_size` is no integer of at least 1.
        """
        return predict(self, inputs, batch_size, given, score_threshold)

    def stream(
        self, source: StreamInput, batch_size: int | None = None, *, score_threshold: Score = None
    ) -> Generator[Any, None, None]:
        """The answers for a video, a camera or many images, one after the other, in a memory that does not grow.

        Args:
            source: a video file; the number of a camera, from 0; an ``rtsp://`` address, or that of a video; a folder
                or glob pattern of images and videos; or an iterable of what `predict` takes.
            batch_size: images that pass through the network at once; None: 1 for a camera or an address, else 8.
            score_threshold: as of `predict`.

        Returns:
            A generator. Each answer has its frame in ``image`` and the number of it in ``source.frame``. Closing the
            generator closes the video.

        Raises:
            InputError: as of `predict`.
        """
        return stream(self, source, batch_size, score_threshold)

    @property
    def left_out_of_graphs(self) -> str:
        """What an exported graph leaves out of the answers, in words, such as windows; empty: nothing."""
        return ""

    def answer_as_graph_(self) -> None:
        """Answer as an exported graph does from now on, without what is `left_out_of_graphs`."""

    def folded(self) -> Self:
        """A copy for inference, with batch norm folded into convolutions; see `detkit.models.folding.folded`.

        `predict` and `detkit eval` use it. In a loop of your own it makes ``model.eval().folded()(images)`` as fast.
        """
        copy = folded(self)
        if copy is not self:
            copy.__dict__["_folded_from"] = self
        return copy

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers; in training mode no folded weights are kept."""
        if mode:
            forget(self)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the tensors; anchors and pixel statistics keep float32, see `keep_float32`."""
        with keep_float32(self):
            return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]  # of torch
