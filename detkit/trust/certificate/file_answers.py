"""The answers of an exported file to images, as the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from detkit.errors import InputError
from detkit.exporting.runtimes import ExportedFile
from detkit.heads.context import Context
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.tasks import task_of
from detkit.trust.certificate.certificate_findings import Finding
from detkit.trust.certificate.file_inputs import FileInputs, InputMaker
from detkit.trust.certificate.stated_facts import StatedFacts


class FileAnswers:
    """Runs a file on images.

    Args:
        file: the file.
        model: of the checkpoint, on the CPU, in evaluation mode.
        facts: what the file says.

    Attributes:
        one_by_one: why images pass through the file one after the other; None where they pass together.
    """

    def __init__(self, file: ExportedFile, model: VisionModel, facts: StatedFacts) -> None:
        self.file, self.model, self.facts, self.task = file, model, facts, task_of(model)
        self.make_inputs = InputMaker(file, model, facts)
        self.one_by_one: Finding | None = None
        images = (file.shapes.get("images") or [None])[0]
        self._at_once = images or 1
        if images is not None:
            sentence = f"the file takes {images} image{'s' if images > 1 else ''} at once, no other number"
            self.one_by_one = Finding("batch", sentence, is_fault=False)

    def inputs(self, images: Sequence[Tensor], given: Sequence[Target]) -> FileInputs:
        """The inputs for some images."""
        return self.make_inputs(images, given)

    def outputs(self, inputs: FileInputs) -> dict[str, Tensor]:
        """The outputs for some images, joined where they pass one after the other.

        Raises:
            InputError: the file cannot be run.
        """
        if self.one_by_one is None:
            try:
                return _tensors(self.file.run(inputs.values))
            except InputError as error:
                if len(inputs.batch.placements) == 1:
                    raise
                rows = self._row_by_row(inputs)  # raises where it fails for one image too
                sentence = f"the file fails for {len(inputs.batch.placements)} images at once: {error}"
                self.one_by_one = Finding("batch", sentence, "export it with a batch of any length")
                return rows
        return self._row_by_row(inputs)

    def answers(self, inputs: FileInputs) -> list[Any]:
        """The answer for each image, in its own pixels.

        Raises:
            InputError: the file cannot be run, or its outputs are not those of the task.
        """
        outputs = self.outputs(inputs)
        try:
            if self.facts.is_raw:
                return list(self.model.decode(self._as_raw(outputs, inputs), Context(inputs.batch)))
            return self.task.exported_answers(self.model, self._in_labels(outputs), inputs.batch)
        except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in outputs.items())
            raise InputError(
                f"{self.file.path} gives {shapes}, which are no answers of a {type(self.model).__name__} "
                f"({type(error).__name__}: {error}): export the checkpoint again."
            ) from error

    def _row_by_row(self, inputs: FileInputs) -> dict[str, Tensor]:
        rows = []
        for index in range(len(inputs.batch.placements)):
            # A file for several images alone gets the same one several times.
            values = {
                name: value.repeat(self._at_once, *[1] * (value.ndim - 1))
                for name, value in inputs.row(index).values.items()
            }
            rows.append({name: value[:1] for name, value in _tensors(self.file.run(values)).items()})
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _in_labels(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs with the labels of the checkpoint, where the file orders its classes otherwise."""
        labels = self.facts.labels
        if labels is None:
            return outputs
        to_own = torch.tensor([*labels, -1])  # the last for what is no detection
        joined = dict(outputs)
        if "labels" in joined:
            joined["labels"] = to_own[joined["labels"].long()]
        if "label_map" in joined:
            joined["label_map"] = to_own[joined["label_map"].long()].to(joined["label_map"].dtype)
        for name in joined.keys() & {"probabilities", "logits"}:  # (B, K, …)
            joined[name] = joined[name][:, torch.tensor(labels).argsort()]
        return joined

    def _as_raw(self, outputs: Mapping[str, Tensor], inputs: FileInputs) -> Any:
        """The outputs of a raw file in the structure of those of the model."""
        expected = self.model.folded().raw(inputs.batch.images[:1])
        leaves, spec = tree_flatten(expected)
        given = iter(outputs.values())
        return tree_unflatten([None if leaf is None else next(given) for leaf in leaves], spec)


def _tensors(outputs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in outputs.items()}
