"""The base class of tasks: a type of answer, and everything that depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.preprocess import Batch
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.plain_sections import plain_sections
from detkit.structures import Category, Target
from detkit.tasks.differences import DifferenceCollector
from detkit.tasks.differences.output_agreement import Tolerance, unequal_numbers
from detkit.tasks.recovered_objects import Recovered
from detkit.visualization import Drawing

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.data.image_dataset import ImageDataset
    from detkit.models import VisionModel


@dataclass(frozen=True)
class NamedEvaluator:
    """An evaluator that has a short name in options of ``detkit eval`` and in old configs.

    Args:
        kind: its class.
        reads: the part of an answer that it reads, as `Evaluator.reads`.
        arguments: arguments of its constructor.
    """

    kind: type[Evaluator]
    reads: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, Any]:
        """The evaluator as an entry of a config."""
        named = {"class_path": f"detkit.evaluation.{self.kind.__name__}"}
        return named | ({"init_args": dict(self.arguments)} if self.arguments else {})


class Task(Drawing):
    """What the commands must know about a type of answer. They call the model's task, and never test which one it is.

    A subclass sets the attributes and overrides what differs. A model names it, ``task = "my_package.MyTask"``, or
    holds an object of it. Drawing is inherited from `detkit.visualization.Drawing`.

    Attributes:
        name: name of the task in messages.
        answer: type of a model's answer for one image; it has ``to(device)``.
        parts: what evaluators can read of an answer, as named by `Evaluator.reads`.
        evaluators: default evaluators, where the config names none; the first one's headline decides which epoch is
            the best.
        named: evaluators with a short name.
        results_file: name of the results file of ``detkit predict``.
        least_score: default score threshold of ``detkit predict``.
        answer_files: the endings of further files that can be written for an answer, such as ``labels.png``, and
            whether ``detkit predict`` writes them unasked.
        answers_objects: whether the entries of `truth` are the objects of the target, row by row, and `truth` and
            answers can be indexed by a mask of rows. ``detkit doctor`` then says which stage loses each object.
    """

    name: str
    answer: type
    parts: frozenset[str]
    evaluators: tuple[type[Evaluator], ...]
    named: ClassVar[Mapping[str, NamedEvaluator]] = {}
    results_file: str = "results.json"
    least_score: float = 0.0
    answer_files: ClassVar[Mapping[str, bool]] = {}
    answers_objects: bool = False

    def check_answers(self, model: VisionModel, answers: Sequence[Any]) -> None:
        """Refuse answers that are not of this task's type.

        Raises:
            InputError: it names the model and both types.
        """
        for answer in answers:
            if not isinstance(answer, self.answer):
                raise InputError(
                    f"the {type(model).__name__} answers with a {type(answer).__name__}, but its task {self.name} is "
                    f"answered with {self.answer.__name__}: let the model name another task"
                )

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse data that lacks what the model learns from.

        Raises:
            InputError: it names what is missing and what to do.
        """
        if "image_label" in model.learns_from and not data.train_dataset.has_image_labels:
            raise InputError(
                "The model learns a class for each image, but the data has objects: set data.image_class to largest "
                "or only."
            )

    def select(self, answer: Any, least_score: float) -> Any:
        """The part of an answer that scores at least `least_score`; all of it where answers have no scores."""
        scores = getattr(answer, "scores", None)
        return answer if scores is None else answer[scores >= least_score]

    def objects(self, answer: Any) -> Any:
        """The detections in an answer that has boxes, of which ``detkit visualize`` explains one. Default: itself."""
        return answer

    def results(self, answer: Any, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The entries of one image's answer in the results file of ``detkit predict``, ready for JSON.

        The command adds ``file_name``, ``image_id`` and, of videos, ``frame`` to each.
        """
        raise NotImplementedError

    def results_content(
        self, entries: Sequence[dict[str, Any]], files: Sequence[Mapping[str, str]], categories: Sequence[Category]
    ) -> Any:
        """The content of the results file of ``detkit predict``; default: the entries.

        Args:
            entries: `results` of all images, with what the command adds.
            files: of each entry, the names of the further files of its image by their endings, relative to the results
                file.
            categories: the class of each label.
        """
        return list(entries)

    def answer_file(self, ending: str, answer: Any, categories: Sequence[Category]) -> bytes:
        """The content of the file of an image's answer with an ending of `answer_files`.

        Raises:
            InputError: the answer does not fit into a file of this kind.
        """
        raise NotImplementedError

    def refusal(self, option: str, model: str) -> str:
        """A sentence that explains why an option of ``detkit eval`` is not for a model of this task."""
        return f"{option} is not for the answers of the {model} ({self.name}): leave it out."

    def doctor(self, dataset: ImageDataset) -> list[str]:
        """What looks wrong about the annotations of a data set for this task, a sentence each."""
        return []

    def truth(self, target: Target) -> Any:
        """The perfect answer for an image; None where it is not annotated.

        ``detkit doctor`` needs it: by default there is none, and what compares with it is left out.
        """
        return None

    @property
    def has_truth(self) -> bool:
        """Whether the task has a `truth` of its own."""
        return type(self).truth is not Task.truth

    def recovered(self, target: Target, answer: Any) -> Recovered:
        """How each entry of `truth` comes back in an answer: of an image whose truth is not None."""
        raise NotImplementedError

    def report(self, evaluated: Evaluated) -> list[Section]:
        """The sections of ``detkit report`` for this task, in order: numbers, then errors, then images.

        Args:
            evaluated: the evaluators, which have computed, and the images. Sections are made of the parts in
                `detkit.reporting`. Default: the metrics of each evaluator, and those of each class.
        """
        return plain_sections(evaluated)

    def export(self, model: VisionModel) -> dict[str, str]:
        """What each output of an exported graph means, by its name: those of `VisionModel.decode_padded`.

        An output that is not named here has no meaning in the file; a name that the graph does not have is left out.
        """
        return {}

    def outputs_differ(
        self, given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance
    ) -> str | None:
        """How the outputs of an exported graph differ from the model's, for the check before a file is written.

        Args:
            given: the outputs of the file, by their names.
            own: those of the model.
            tolerance: of the comparison.

        Returns:
            A phrase, ``boxes differ by 3``; None where they agree. Default: numbers are compared one by one.
        """
        return unequal_numbers(given, own, tolerance)

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[Any]:
        """The answers in the outputs of an exported graph, in pixels of the given images, as `VisionModel.decode`.

        Args:
            model: whose graph it is.
            outputs: by their names, on the CPU.
            batch: the images that the graph got, with their placements.

        Raises:
            InputError: by default; the task does not say how.
        """
        raise self._lacks("exported_answers")

    @property
    def exported_parts(self) -> frozenset[str]:
        """Those of `parts` that `exported_answers` have. Default: all."""
        return self.parts

    def differences(self, categories: Sequence[Category], tolerance: float = 1.0) -> DifferenceCollector:
        """What collects how two answers differ, for ``detkit verify``.

        Args:
            categories: the class of each label.
            tolerance: how many times as much as in float32 rounding may change.

        Raises:
            InputError: by default; the task does not say how.
        """
        raise self._lacks("differences")

    def _lacks(self, method: str) -> InputError:
        return InputError(
            f"The task {self.name} has no method {method}, which `detkit verify` needs: add it to "
            f"{type(self).__name__}, see docs/extend/task.md."
        )
