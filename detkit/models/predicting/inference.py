"""The answers for images, in batches."""

from __future__ import annotations

import importlib
import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.models.answers import Answer, answers_on_cpu
from detkit.models.check_inputs import check_batch_size
from detkit.models.not_finite import warn_again
from detkit.models.predicting.evaluation_mode import evaluation_mode
from detkit.models.predicting.image_inputs import ImageInput, as_input, is_listing, is_sequence, listed_images
from detkit.structures import Fields, ImageSource, Target

if TYPE_CHECKING:
    from detkit.models.vision_model import VisionModel

Images = Sequence[ImageInput]
Given = Sequence[Target] | None
Score = float | None
Read = tuple[Tensor, ImageSource]


def predict(
    model: VisionModel,
    inputs: ImageInput | Images,
    batch_size: int,
    given: Target | Given,
    score_threshold: Score,
) -> Answer | Sequence[Answer]:
    """See `VisionModel.predict`."""
    check_batch_size(batch_size)
    check_threshold(score_threshold)
    if is_listing(inputs):
        inputs = listed_images(inputs)
    several = is_sequence(inputs)
    images = cast(Images, inputs if several else [inputs])
    targets = cast(Given, given if several or given is None else [given])
    if targets is not None and len(targets) != len(images):
        raise InputError(f"predict got {len(images)} images but given has {len(targets)} targets")
    warn_again(model)
    answers: list[Answer] = []
    with evaluation_mode(model):
        for start in range(0, len(images), batch_size):
            batch = enumerate(images[start : start + batch_size], start)
            read = [as_input(image, f"inputs[{index}]") for index, image in batch]
            own = None if targets is None else targets[start : start + batch_size]
            answers += answers_of(model, read, own, score_threshold)
    return answers if several else answers[0]


def check_threshold(score_threshold: Score) -> None:
    """Raise InputError unless `score_threshold` is None or a number in [0, 1]."""
    if score_threshold is None:
        return
    is_number = isinstance(score_threshold, numbers.Real) and not isinstance(score_threshold, bool)
    if not is_number or not 0 <= score_threshold <= 1:
        raise InputError(f"score_threshold must be a number from 0 to 1, got {score_threshold!r}")


@torch.inference_mode()
def answers_of(model: VisionModel, read: Sequence[Read], given: Given, score_threshold: Score) -> list[Any]:
    """The answers of a model in evaluation mode for one batch, on the CPU; those that can know their image do."""
    options = {} if given is None else {"given": given}
    answers = answers_on_cpu(model.folded()([image for image, _ in read], **options))
    if score_threshold is not None:
        # Tasks stand above models, which name them by their path.
        select = importlib.import_module("detkit.tasks").task_of(model).select
        answers = [select(answer, score_threshold) for answer in answers]
    known = [replace(source, categories=model.categories, score_threshold=score_threshold) for _, source in read]
    return [_of_image(answer, source) for answer, source in zip(answers, known, strict=True)]


def _of_image(answer: Any, source: ImageSource) -> Any:
    if not (isinstance(answer, Fields) and "source" in answer.kinds()):
        return answer
    return answer.with_fitting({"source": source})
