"""Whether a file would answer as its checkpoint if its input were made otherwise: with swapped channels, say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.tasks import task_of
from detkit.trust.certificate.certificate import TOLERANCES
from detkit.trust.certificate.certificate_findings import Finding
from detkit.trust.certificate.file_answers import FileAnswers
from detkit.trust.certificate.file_inputs import FileInputs
from detkit.trust.certificate.ties import answers_of_batch

UNEXPLAINED = 0.05
"""The share of predictions that may differ nonetheless: further causes, and equal scores."""


@torch.no_grad()
def input_trial(answers: FileAnswers, model: VisionModel, inputs: FileInputs) -> Finding | None:
    """The change of the input with which a file answers as the model; None where none of the usual ones does.

    Args:
        answers: of the file.
        model: of the checkpoint.
        inputs: for which the answers differ.
    """
    if model.asks_for or answers.facts.other_preprocess is not None:
        return None
    task, expected = task_of(model), answers_of_batch(model, inputs.batch, [])
    sizes = [placement.given_size for placement in inputs.batch.placements]
    for size, one in zip(sizes, expected, strict=True):
        alone = task.differences(model.categories or [])
        alone.add(None, size, one, one)
        if not alone.result().predictions:
            return None  # to find nothing is no evidence
    for words, change in _changes(model).items():
        values = {**inputs.values, "images": change(inputs.values["images"])}
        try:
            given = answers.answers(replace(inputs, values=values))
        except InputError:
            continue
        collected = task.differences(model.categories or [], TOLERANCES[answers.file.precision])
        for size, own, other in zip(sizes, expected, given, strict=True):
            collected.add(None, size, own, other)
        found = collected.result()
        if not found.causes and found.mismatches <= UNEXPLAINED * found.predictions:
            return Finding("input", f"the file answers as the checkpoint if it gets {words}", "export it again")
    return None


def _changes(model: VisionModel) -> Mapping[str, Callable[[Tensor], Tensor]]:
    mean, std = model.preprocess.mean, model.preprocess.std
    return {
        "BGR in place of RGB": lambda images: images.flip(1),
        "numbers up to 255 in place of 1": lambda images: images * 255,
        "BGR up to 255": lambda images: images.flip(1) * 255,
        "normalized pixels": lambda images: (images - mean) / std,
        "pixels that are not normalized": lambda images: images * std + mean,
        "numbers from -1 to 1": lambda images: images * 2 - 1,
    }
