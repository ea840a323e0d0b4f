"""What every model is, whatever it answers, and what every detector is, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.context import Candidates, Context
from detkit.images import read_image, to_tensor
from detkit.models.asked import NamedFields
from detkit.models.checks import check_given, check_image, check_images, check_targets
from detkit.models.loss_weights import weighted
from detkit.preprocess import Batch, Preprocess
from detkit.structures import Category, Target

if TYPE_CHECKING:  # tasks stand above models
    from detkit.tasks import Task

ImageInput = str | Path | np.ndarray | Tensor


class Answer(Protocol):
    """What a model says of one image: `Detections`, a `Classification`, or what a task of your own has."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same with every tensor on `device`."""


class VisionModel(nn.Module):
    """Images in; losses out where targets are given, answers where not.

        images -> preprocess -> features -> heads -+-> losses
                                                   +-> decode -> answers

    A subclass gives `features`, `heads`, `losses` and `decode`; one that goes another way gives `compute_losses` and
    `detect`. What a call returns depends on its arguments alone, never on ``training``, so that a validation loss is a
    call like any other.

    Args:
        num_classes: classes without background; None for a model that has none.

    Attributes:
        preprocess: places images in the network's frame.
        loss_weights: factor of each named loss; those not named count once.
        asks_for: the fields of `Target` that must be given with an image also at inference: what is set here and what
            its modules name.
        categories: the class of each label as its data set names it; None until known.
        learns_from: the fields of `Target` beside boxes and labels without which something is not learned, likewise.
        task: what its answers are, and so how they are evaluated, drawn and written: a `detkit.tasks.Task`, or the
            import path of one. `detkit.tasks.task_of` gives the object.
    """

    task: Task | str
    preprocess: Preprocess
    loss_weights: Mapping[str, float] = {}
    learns_from = NamedFields()
    asks_for = NamedFields()

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.categories: list[Category] | None = None

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
            given: what the model `asks_for` of each image, in its pixels; in training it may stand in the targets.
            generator: the source of all random sampling; None: torch's own.

        Returns:
            Named scalar losses, weighted, to be summed; or the answer for each image in its own pixels.

        Raises:
            InputError: an image or a target is not as it must be; the message says which and how.
        """
        check_images(images)
        further: dict[str, Any] = {}
        asked = self.asks_for
        if asked or given is not None:
            further["given"] = targets if given is None else given
            check_given(images, further["given"], asked)
        if targets is None:
            return self.detect(images, **further)
        check_targets(images, targets, self.num_classes)
        if generator is not None:
            further["generator"] = generator
        return self.compute_losses(images, targets, **further)

    def features(self, batch: Batch) -> Any:
        """What the heads look at: maps of the preprocessed images, finest first."""
        raise NotImplementedError

    def heads(self, features: Any, context: Context) -> Any:
        """What the heads say of `features`, raw; without targets it is one graph."""
        raise NotImplementedError

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step."""
        raise NotImplementedError

    def decode(self, raw: Any, context: Context) -> Sequence[Answer]:
        """The answers of each image, in its own pixels."""
        raise NotImplementedError

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """All that might be an answer, before suppression, whatever the targets; differentiable."""
        raise NotImplementedError

    def assign(self, raw: Any, context: Context) -> Tensor:
        """Which object of the targets each of the `candidates` is to find ``(N,)``; see `DenseHead.assign`."""
        raise NotImplementedError

    def raw(self, images: Tensor) -> Any:
        """Backbone, neck and heads alone: tensors in, tensors out, no suppression.

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
        """The batch of `images`, with targets and what is given in the network's frame."""
        batch = self.preprocess(images)
        moved = None if targets is None else self.preprocess.targets(targets, batch)
        asked = moved if given is targets or given is None else self.preprocess.targets(given, batch)
        return Context(batch, moved, asked, generator)

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
        return weighted(losses, self.loss_weights)

    def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> Sequence[Answer]:
        """The answers for each image, in its own pixels."""
        context = self.context(images, given=given)
        return self.decode(self.heads(self.features(context.batch), context), context)

    @torch.inference_mode()
    def predict(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        batch_size: int = 8,
        given: Target | Sequence[Target] | None = None,
    ) -> Any:
        """Answer in evaluation mode, on the device of the model, in batches.

        Args:
            inputs: an image or a sequence of images, each the path of a file, a ``(H, W, 3)`` uint8 RGB array, or a
                ``(3, H, W)`` RGB tensor, uint8 or float in [0, 1].
            batch_size: images that pass through the network at once.
            given: what the model `asks_for` of the image, or of each, in its pixels.

        Returns:
            An answer on the CPU for one image, a list of them for a sequence.

        Raises:
            InputError: a file cannot be read, or an array is no image.
        """
        if not _is_sequence(inputs):
            return self.predict([inputs], batch_size, None if given is None else [given])[0]
        if given is not None and len(given) != len(inputs):
            raise InputError(f"predict got {len(inputs)} images but something given for {len(given)}")
        in_training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            found = []
            for start in range(0, len(inputs), batch_size):
                batch = enumerate(inputs[start : start + batch_size], start)
                images = [_as_tensor(image, f"inputs[{index}]") for index, image in batch]
                further = {} if given is None else {"given": given[start : start + batch_size]}
                found += [answer.to("cpu") for answer in self(images, **further)]
            return found
        finally:
            for module in in_training:
                module.training = True


class Detector(VisionModel):
    """A model whose answers are `Detections`.

    Args:
        num_classes: classes without background.
    """

    task = "detkit.tasks.Detection"
    num_classes: int

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)


def _is_sequence(inputs: ImageInput | Sequence[ImageInput]) -> bool:
    """Whether `inputs` are several images, also as one array or tensor ``(B, …)``."""
    return getattr(inputs, "ndim", 0) == 4 or (isinstance(inputs, Sequence) and not isinstance(inputs, str))


def _as_tensor(image: ImageInput, name: str) -> Tensor:
    if isinstance(image, Tensor):
        check_image(image, name)
        return image
    pixels = read_image(image) if isinstance(image, (str, Path)) else image
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"{name} must be a path, an array or a tensor, got {type(image).__name__}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"{name} must be (H, W, 3) uint8 RGB for an array, got {pixels.shape} {pixels.dtype}")
    return to_tensor(np.ascontiguousarray(pixels))
