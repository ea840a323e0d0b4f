"""What ``detkit compare`` compares: a checkpoint on its data, or a file of detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.engine.commands.evaluate import evaluation_parser, prepared_evaluation
from detkit.engine.commands.evaluation.evaluating import PreparedEvaluation, evaluate_file
from detkit.engine.commands.evaluation.evaluation_options import EvaluationOptions, check_options
from detkit.engine.config.parser import ParsedCommand
from detkit.errors import InputError
from detkit.evaluation import Evaluator


@dataclass(frozen=True, eq=False)
class ComparedSource:
    """One of both, its evaluators built.

    Args:
        path: of the checkpoint or the file of detections.
        evaluators: by name; those of a checkpoint have no answers before `run`.
        prepared: the evaluation of a checkpoint; None for a file, whose evaluators have their answers.
    """

    path: Path
    evaluators: dict[str, Evaluator]
    prepared: PreparedEvaluation | None = None

    def run(self) -> None:
        """Give the evaluators the answers for all images."""
        if self.prepared is not None:
            self.prepared.run()


def is_results_file(path: str) -> bool:
    """Whether a path is that of a file of detections, and not of a run or a checkpoint."""
    return Path(path).suffix == ".json"


def open_source(
    path: str, annotations: str | None, arguments: Callable[[bool], list[str]], data: Sequence[str]
) -> ComparedSource:
    """Open a run, a checkpoint or a file of detections.

    Args:
        path: of it.
        annotations: the ground truth for files.
        arguments: further ones of ``detkit eval``, for a file or not.
        data: arguments of the data of a checkpoint.

    Raises:
        InputError: it cannot be evaluated.
    """
    if not is_results_file(path):
        checkpoint, prepared = prepared_evaluation([f"--checkpoint={path}", *arguments(False), *data])
        return ComparedSource(checkpoint.path, prepared.evaluators, prepared)
    if annotations is None:
        raise InputError(f"{path} is a file of detections, which needs --annotations, the ground truth.")
    argv = [f"--detections={path}", f"--annotations={annotations}", *arguments(True)]
    options = ParsedCommand.of(evaluation_parser(), argv).options(EvaluationOptions)
    check_options(options, has_checkpoint=False)
    return ComparedSource(Path(path), evaluate_file(options))
