"""`Examination`: one exported file, as images pass by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.exporting.runtimes import ExportedFile
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.tasks import task_of
from detkit.tasks.differences import AnswerDifferences, DifferenceCollector
from detkit.trust.certificate.certificate import TOLERANCES, Certificate
from detkit.trust.certificate.certificate_findings import Finding
from detkit.trust.certificate.file_answers import FileAnswers
from detkit.trust.certificate.file_inputs import FileInputs
from detkit.trust.certificate.input_trials import input_trial
from detkit.trust.certificate.parting import PartingFinder
from detkit.trust.certificate.stated_facts import StatedFacts
from detkit.trust.certificate.ties import answers_of_batch, ties
from detkit.trust.comparison import Comparison

GROSS = 0.1
"""The share of predictions for a trial in float16 that must differ to be a fault."""


class Examination:
    """Compares a file with its model on images.

    Args:
        file: the file.
        model: of the checkpoint, on the CPU, in evaluation mode.
        evaluators: by name, those that get the answers of the file.
        finder: of the node where the file parts from the model.
        left_out: what the checkpoint does beside, in words, and `model` does not; see `VisionModel.left_out_of_graphs`.

    Attributes:
        images: the number of images that were compared.
        skipped: the number of those that are too large for the file.
        parting: the inputs of the first image whose answers differ; None before.
        parting_image: its id.
    """

    def __init__(
        self,
        file: ExportedFile,
        model: VisionModel,
        evaluators: Mapping[str, Evaluator],
        finder: PartingFinder,
        left_out: str = "",
    ) -> None:
        self.file, self.model, self.evaluators, self.finder = file, model, evaluators, finder
        self.left_out = left_out
        self.task, self.facts = task_of(model), StatedFacts(file, model)
        self.answers = FileAnswers(file, model, self.facts)
        self.tolerance = TOLERANCES[file.precision]
        self.differences = self.task.differences(model.categories or [], self.tolerance)
        self.images = self.skipped = 0
        self.parting: FileInputs | None = None
        self.parting_image: Any = None
        self._probed: list[Finding] | None = None
        self._tied = self._new_differences()

    @torch.no_grad()
    def add(self, images: Sequence[Tensor], targets: Sequence[Target], expected: Sequence[Any]) -> None:
        """Compare the answers for a batch.

        Args:
            images: of the data.
            targets: their ground truth.
            expected: the answers of the model.

        Raises:
            InputError: the file cannot be run.
        """
        fitting = [row for row, image in enumerate(images) if self._fits(image, targets[row])]
        self.skipped += len(images) - len(fitting)
        if not fitting:
            return
        images, targets = [images[row] for row in fitting], [targets[row] for row in fitting]
        expected = [expected[row] for row in fitting]
        inputs = self.answers.inputs(images, targets)
        given = self.answers.answers(inputs)
        for evaluator in self.evaluators.values():
            evaluator.update(targets, given)
        expected = self._of_same_batch(images, inputs, targets, expected)
        for row, (image, target) in enumerate(zip(images, targets, strict=True)):
            self._compare(inputs.row(row), image, target, expected[row], given[row])
        if self._probed is None:
            self._probed = self._probes(images, targets)

    def certificate(self, comparisons: Mapping[str, Comparison], allowed: float) -> Certificate:
        """The certificate after all images; where it fails, with the node at which the graphs part.

        Args:
            comparisons: by evaluator.
            allowed: how much a headline may differ in a lower precision.
        """
        found, result = tuple(self.findings()), self.differences.result()
        made = Certificate(self.file, found, result, dict(comparisons), allowed, self.skipped, ties=self._tied.result())
        if made.is_certified or self.parting is None:
            return made
        trial = input_trial(self.answers, self.model, self.parting)
        return replace(
            made,
            findings=found if trial is None else (*found, trial),
            parting=self.finder.find(self.file, self.parting, self.facts.is_raw),
        )

    def findings(self) -> list[Finding]:
        """What the file says otherwise than the model, and how it takes its input."""
        found = self.facts.findings()
        if self.left_out:
            sentence = f"the file leaves out {self.left_out}: it and the checkpoint are compared without it"
            found.append(Finding("inference", sentence, "apply it in the program that runs the file", is_fault=False))
        if self.answers.one_by_one is not None:
            found.append(self.answers.one_by_one)
        if self.skipped:
            many = self.skipped > 1
            height, width = self.answers.make_inputs.size or (0, 0)
            sentence = (
                f"{self.skipped} image{'s are' if many else ' is'} larger than its input of {height} x {width} pixels "
                "(height x width)"
            )
            found.append(Finding("size", sentence, "export it with a larger --size, or without", is_fault=False))
        changes = self.finder.changes(self.file, self.facts.is_raw)
        found += [Finding("graph", sentence) for sentence in changes.sentences]
        found += [Finding("graph", changes.note, is_fault=False)] if changes.note else []
        return [*found, *(self._probed or [])]

    def _fits(self, image: Tensor, target: Target) -> bool:
        if self.answers.make_inputs.size is None or self.facts.other_preprocess is not None:
            return True
        placed = self.model.preprocess([torch.zeros_like(image)]).padded_size
        return all(side <= limit for side, limit in zip(placed, self.answers.make_inputs.size, strict=True))

    def _of_same_batch(
        self, images: Sequence[Tensor], inputs: FileInputs, targets: Sequence[Target], expected: Sequence[Any]
    ) -> Sequence[Any]:
        """What the model answers to the padded batch of the file, where that is wider than the model's own."""
        if self.facts.other_preprocess is not None or self.answers.make_inputs.size is None:
            return expected
        own = self.model.preprocess(images)
        if own.padded_size == inputs.batch.padded_size:
            return expected
        return answers_of_batch(self.model, inputs.batch, targets)

    def _compare(self, inputs: FileInputs, image: Tensor, target: Target, expected: Any, given: Any) -> None:
        """Compare the answers to one image, apart where equal values explain all that differs."""
        self.images += 1
        size, alone = (image.shape[1], image.shape[2]), self._new_differences()
        alone.add(target.image_id, size, expected, given)
        found = alone.result()
        of_ties = self._is_of_ties(found, inputs, [target])
        (self._tied if of_ties else self.differences).add(target.image_id, size, expected, given)
        if self.parting is None and not found.agree and not of_ties:
            self.parting, self.parting_image = inputs, target.image_id

    def _is_of_ties(self, found: AnswerDifferences, inputs: FileInputs, targets: Sequence[Target]) -> bool:
        """Whether predictions differ, and equal values explain all of it."""
        differing = found.mismatches + found.borderline
        # One is lost, another comes. If most differ, it is no tie.
        is_few = 0 < differing <= found.predictions / 2
        return is_few and differing <= 2 * self._ties(inputs, targets)

    def _ties(self, inputs: FileInputs, targets: Sequence[Target]) -> int:
        if self.facts.other_preprocess is not None or self.file.precision == "int8":
            return 0
        return ties(self.model, inputs.batch, targets, self.tolerance)

    def _new_differences(self) -> DifferenceCollector:
        return self.task.differences(self.model.categories or [], self.tolerance)

    def _probes(self, images: Sequence[Tensor], targets: Sequence[Target]) -> list[Finding]:
        """Whether the file also takes a blank image, one image alone, and images of several sizes."""
        if self.model.asks_for or self.facts.other_preprocess is not None:
            return []  # the answers depend on more than these images, or differ anyway
        first = images[0]
        trials = {
            "a blank image": [torch.full_like(first, 128 if first.dtype == torch.uint8 else 0.5)],
            "one image alone": [first],
            "images of several sizes": [first, first.transpose(1, 2), first[:, : first.shape[1] * 3 // 4]],
        }
        found = []
        for name, some in trials.items():
            if not all(self._fits(image, targets[0]) for image in some):
                continue
            try:
                given = self.answers.answers(inputs := self.answers.inputs(some, [Target()] * len(some)))
            except InputError as error:
                found.append(Finding("input", f"it fails for {name}: {error}", "export it again, without --size"))
                continue
            expected = self._of_same_batch(some, inputs, [], self.model.folded()(some))
            is_known = self.file.precision == "float32" and not self.differences.result().agree
            if self.file.precision == "int8" or is_known:
                continue  # the answers differ anyway
            collected = self._new_differences()
            for image, own, other in zip(some, expected, given, strict=True):
                collected.add(name, (image.shape[1], image.shape[2]), own, other)
            result = collected.result()
            if (
                self.file.precision == "float16"
                and not result.causes
                and result.mismatches <= GROSS * result.predictions
            ):
                continue  # a few images cannot tell rounding in half, which AP measures, from less than a gross fault
            if not result.agree and not self._is_of_ties(result, inputs, []):
                found.append(Finding("input", f"its answers differ for {name}"))
                if self.parting is None:
                    self.parting, self.parting_image = inputs, name
        return found
