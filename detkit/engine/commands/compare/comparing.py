"""Evaluating two sources on the same data, and reporting how they differ."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import get_console

from detkit.engine.commands.compare.compared_sources import ComparedSource, is_results_file, open_source
from detkit.errors import InputError
from detkit.evaluation.tables.detection_report import write_numbers
from detkit.evaluation.tables.printed_tables import print_table
from detkit.files import check_writable
from detkit.trust.comparison import Comparison, check_samples, compare
from detkit.trust.comparison.comparison_report import class_comparison_table, comparison_entry, comparison_table
from detkit.trust.comparison.same_data import join_data
from detkit.trust.comparison.verdict import outlook, verdict

logger = logging.getLogger(__name__)

NAMES = ("A", "B")


@dataclass(frozen=True)
class ComparisonOptions:
    """The arguments of ``detkit compare``."""

    a: str
    b: str
    annotations: str | None
    split: str
    evaluators: str | None
    protocol: str | None
    iou_type: list[str] | None
    bootstrap: int
    confidence: float
    seed: int
    per_class: bool
    out: str | None
    device: str
    precision: str
    trust: list[str]

    def evaluation_arguments(self, is_file: bool) -> list[str]:
        """What ``detkit eval`` would take for one of both, apart from the source and the data."""
        arguments = [
            f"--{name}={value}"
            for name in ("evaluators", "protocol", *(() if is_file else ("split", "device", "precision")))
            if (value := getattr(self, name)) is not None
        ]
        kinds = ["--iou_type", *self.iou_type] if self.iou_type else []
        return [*arguments, *kinds, *(f"--trust={package}" for package in self.trust)]


def compare_sources(options: ComparisonOptions, data: Sequence[str]) -> dict[str, Comparison]:
    """Evaluate both, print tables and verdicts, and write the JSON file.

    Args:
        options: of the command.
        data: arguments of the data, for checkpoints.

    Returns:
        The comparison of each evaluator by its name.

    Raises:
        InputError: a source cannot be evaluated, or they have different data; this is seen before a model runs.
    """
    check_samples(options.bootstrap, options.confidence)
    _check_use(options, data)
    if options.out is not None:
        check_writable(options.out)
    sources = [
        open_source(path, options.annotations, options.evaluation_arguments, data) for path in (options.a, options.b)
    ]
    shared, notes = _shared(sources)
    _check_same_data(sources, shared)
    for source in sources:
        source.run()
    logger.info("drawing the images %d times for %s", options.bootstrap, ", ".join(shared))
    first, second = sources
    comparisons = {
        name: compare(
            first.evaluators[name],
            second.evaluators[name],
            names=NAMES,
            samples=options.bootstrap,
            confidence=options.confidence,
            seed=options.seed,
            per_class=options.per_class,
        )
        for name in shared
    }
    content = {
        **{name: str(source.path) for name, source in zip(NAMES, sources, strict=True)},
        "samples": options.bootstrap,
        "confidence": options.confidence,
        "seed": options.seed,
        "evaluators": {name: comparison_entry(one) for name, one in comparisons.items()},
    }
    if options.out:
        write_numbers(Path(options.out), content)
    _print(sources, comparisons, notes)
    return comparisons


def _check_use(options: ComparisonOptions, data: Sequence[str]) -> None:
    """Refuse arguments that neither source would use."""
    files = [is_results_file(path) for path in (options.a, options.b)]
    if options.annotations and not any(files):
        raise InputError("--annotations is for files of detections: leave it out, or give --data.root.")
    if data and all(files):
        raise InputError(f"{data[0].partition('=')[0]} is for checkpoints: files of detections need --annotations.")


def _shared(sources: Sequence[ComparedSource]) -> tuple[list[str], list[str]]:
    """The names of the evaluators that both have, and a sentence on those that only one has."""
    first, second = (source.evaluators for source in sources)
    shared = [name for name in first if name in second]
    if not shared:
        raise InputError(
            f"{sources[0].path} is evaluated by {', '.join(first)}, {sources[1].path} by {', '.join(second)}: name "
            "evaluators that both can have, with --evaluators."
        )
    alone = [
        f"only {name} has numbers of {', '.join(rest)}, so they are not compared"
        for name, rest in zip(NAMES, ([one for one in of if one not in shared] for of in (first, second)), strict=True)
        if rest
    ]
    return shared, alone


def _check_same_data(sources: Sequence[ComparedSource], shared: Sequence[str]) -> None:
    """Refuse different data, and evaluators that cannot weight images, while no model has run for long."""
    for name in shared:
        if any(source.evaluators[name].weights_answers for source in sources):
            continue  # seen when they are compared
        first, second = (source.evaluators[name].image_weighting().data for source in sources)
        join_data(first, second, NAMES)


def _print(sources: Sequence[ComparedSource], comparisons: Mapping[str, Comparison], notes: Sequence[str]) -> None:
    console = get_console()
    for name, source in zip(NAMES, sources, strict=True):
        console.print(f"{name}: {source.path}", highlight=False, soft_wrap=True, markup=False)
    for comparison in comparisons.values():
        print_table(console, comparison_table(comparison))
        if comparison.by_class:
            print_table(console, class_comparison_table(comparison))
    for name, comparison in comparisons.items():
        title = f"{name}: " if len(comparisons) > 1 else ""
        for sentence in (*comparison.notes, verdict(comparison), outlook(comparison)):
            if sentence:
                console.print(f"{title}{sentence}", highlight=False, soft_wrap=True, markup=False)
    for note in notes:
        console.print(f"Note: {note}.", highlight=False, soft_wrap=True, markup=False)
