"""The contract of an evaluator, as a check."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from detkit.data import ImageDataset
from detkit.errors import InputError
from detkit.evaluation import Evaluator, Report, ReportOptions
from detkit.files import read_json
from detkit.structures import Category, Target
from detkit.testing.contract import ContractError, check_pickles, is_close, no_error, require

_BETTER = 1e-6  # than what is better only by rounding


class MakeEvaluator(Protocol):
    """A class of evaluators, or a `functools.partial` of one: what the data set and the model fill in is left."""

    def __call__(self, annotations: Any, /, *, categories: Sequence[Category] | None = None) -> Evaluator:
        """An evaluator against these annotations."""


def check_evaluator(
    evaluator: MakeEvaluator, dataset: ImageDataset, perfect: Callable[[Target], Any], empty: Any = None
) -> None:
    """Hold an evaluator to its contract: numbers, whatever the order, the batches and the processes of the images.

    Args:
        evaluator: your class, called as a training calls it.
        dataset: a few images whose answers differ, at least three.
        perfect: makes the answer of a model that knows the target.
        empty: the answer of a model that finds nothing, if there is one.

    Raises:
        ContractError: a rule is broken; the message says which.
    """
    owner = getattr(evaluator, "__name__", None) or getattr(evaluator, "func", type(evaluator)).__name__
    truth = dataset.ground_truth()
    content = read_json(truth) if isinstance(truth, (str, Path)) else truth
    before = copy.deepcopy(content)

    def make(annotations: Any = content) -> Evaluator:
        with no_error(f"{owner}(annotations, categories=…)", "take the data set's truth first, then categories"):
            return evaluator(annotations, categories=dataset.categories)

    targets = [dataset.target(row) for row in range(len(dataset))]
    require(len(targets) >= 3, f"check_evaluator needs at least three images, got {len(targets)}: give more of them")
    answers = [perfect(target) for target in targets]
    one = make(truth)
    _check_attributes(one, owner)
    best = _numbers(one, targets, answers, owner)
    _check_unscaled(one, best, owner)
    _check_headline(make, one, best, targets, answers, empty, owner)
    require(is_close(content, before), f"{owner} changes the annotations that it is given: let it copy what it changes")
    for some in (answers, *_imperfect(make, targets, answers, empty, owner)):
        other = make()
        numbers = _numbers(other, targets, some, owner)
        _check_repetition(other, numbers, targets, some, empty, owner)
        _check_order(make, numbers, targets, some, owner)
        _check_processes(make, numbers, targets, some, owner)
        _check_weighting(other, numbers, owner)
    _check_report(one, owner)
    _check_reset(make, one, owner)


def _check_attributes(one: Any, owner: str) -> None:
    require(isinstance(one, Evaluator), f"an evaluator is a detkit.evaluation.Evaluator: got {type(one).__name__}")
    for name in ("name", "reads", "headline"):
        value = getattr(one, name, None)
        named = isinstance(value, str) and value != ""
        require(named, f"{owner}.{name} must be a name: got {value!r}, set it on the class or in __init__")
    better = one.higher_is_better
    require(isinstance(better, bool), f"{owner}.higher_is_better must be True or False: got {better!r}")
    scale = one.scale
    is_scale = isinstance(scale, (int, float)) and not isinstance(scale, bool) and scale > 0
    require(is_scale, f"{owner}.scale must be a number above 0, such as 100 for percent: got {scale!r}")
    known = {"bootstrap", "errors", "curves", "confusion", "save_detections"}
    unknown = sorted(set(one.extras) - known)
    require(not unknown, f"{owner}.extras names {unknown}: a report can hold {', '.join(sorted(known))}")
    require(one.evaluation is None, f"{owner}.evaluation must be None before compute(): call super().__init__")


def _numbers(one: Evaluator, targets: Sequence[Target], answers: Sequence[Any], owner: str) -> dict[str, float]:
    """The numbers after an update with these answers, in one batch."""
    with no_error(f"{owner}.update", "it takes the targets and answers of a batch"):
        one.update(targets, answers)
    with no_error(f"{owner}.compute", "it takes whatever was kept, also nothing"):
        numbers: Any = one.compute()
    plain = isinstance(numbers, dict) and all(
        isinstance(name, str) and isinstance(value, (int, float)) for name, value in numbers.items()
    )
    require(plain, f"{owner}.compute must give a dict of Python numbers by name: got {numbers!r:.80}")
    require(
        one.headline in numbers,
        f"{owner}.headline is {one.headline!r}, which is not among its numbers {sorted(numbers)}: name one of them",
    )
    bad = sorted(name for name, value in numbers.items() if not math.isfinite(value))
    require(not bad, f"{owner}.compute gives numbers that are not finite: {bad}; divide by at least 1, or give -1")
    return dict(numbers)


def _numbers_unless_refused(
    one: Evaluator, targets: Sequence[Target], answers: Sequence[Any], owner: str
) -> dict[str, float] | None:
    """As `_numbers`; None where the evaluator refuses the answers, as it may those for an image of another size."""
    try:
        return _numbers(one, targets, answers, owner)
    except ContractError as error:
        if isinstance(error.__cause__, InputError):
            return None
        raise


def _imperfect(
    make: Callable[[], Evaluator], targets: Sequence[Target], answers: Sequence[Any], empty: Any, owner: str
) -> list[list[Any]]:
    """Answers that are perfect for the first image alone, and for the last alone, with other scores for each image.

    Perfect answers hide how images are weighted: an error is 0 for each of them.
    """
    scored = [_with_own_scores(answer, row) for row, answer in enumerate(answers)]
    wrong = []
    for row, target in enumerate(targets):
        others = [scored[(row + 1) % len(scored)], *([] if empty is None else [empty])]
        accepted = (
            other
            for other in (others if row % 2 else reversed(others))
            if _numbers_unless_refused(make(), [target], [other], owner) is not None
        )
        wrong.append(next(accepted, scored[row]))
    return [[scored[0], *wrong[1:]], [*wrong[:-1], scored[-1]]]


def _with_own_scores(answer: Any, row: int) -> Any:
    """The answer with lower scores, no two alike, since the order of equal scores is not part of the contract."""
    scores = getattr(answer, "scores", None)
    if not is_dataclass(answer) or isinstance(answer, type) or not isinstance(scores, Tensor):
        return answer
    return replace(answer, scores=scores * torch.linspace(1, 0.9, len(scores)) / (1 + 0.01 * row))


def _check_unscaled(one: Evaluator, numbers: dict[str, float], owner: str) -> None:
    unknown = sorted(set(one.unscaled) - numbers.keys())
    require(not unknown, f"{owner}.unscaled names {unknown}, which are not among its numbers {sorted(numbers)}")


def _check_headline(
    make: Callable[[], Evaluator], one: Evaluator, best: dict[str, float], targets: Sequence[Target],
    answers: Sequence[Any], empty: Any, owner: str,
) -> None:  # fmt: skip
    """Perfect answers are the best ones."""
    sign = 1 if one.higher_is_better else -1
    worse = {"the answers of the neighboring images": [*answers[1:], answers[0]]}
    if empty is not None:
        worse["answers that find nothing"] = [empty] * len(answers)
    gains = []
    for what, others in worse.items():
        numbers = _numbers_unless_refused(make(), targets, others, owner)
        if numbers is None:
            continue
        other = numbers[one.headline]
        gains.append(sign * (best[one.headline] - other))
        require(
            gains[-1] >= -_BETTER,
            f"{owner}: {what} have the better {one.headline}, {other:.4g} against {best[one.headline]:.4g} of perfect "
            "ones: set higher_is_better, or correct the number",
        )
    require(
        not gains or max(gains) > _BETTER,
        f"{owner}: {one.headline} is {best[one.headline]:.4g} for perfect and wrong answers: it must tell them apart",
    )
    _numbers(make(), [], [], owner)


def _check_repetition(
    one: Evaluator, numbers: dict[str, float], targets: Sequence[Target], answers: Sequence[Any], empty: Any, owner: str
) -> None:
    require(
        is_close(dict(one.compute()), numbers),
        f"{owner}.compute gives other numbers when it is called twice: let evaluate() change nothing that is kept",
    )
    with contextlib.suppress(InputError):  # answers for an image of another size may be refused
        one.update(targets[:2], [*answers[1:2], *answers[:1]] if empty is None else [empty] * 2)
    one.update(targets[:2], answers[:2])
    require(
        is_close(dict(one.compute()), numbers),
        f"{owner}: an image that comes twice must count once, with the later answer: return what an image needs from "
        "keep() and add nothing up there",
    )


def _check_order(
    make: Callable[[], Evaluator],
    numbers: dict[str, float],
    targets: Sequence[Target],
    answers: Sequence[Any],
    owner: str,
) -> None:
    rows = list(range(len(targets)))
    middle = len(rows) // 2
    for order in (rows[::-1], rows[middle:] + rows[:middle]):
        other = make()
        for row in order:
            other.update(targets[row : row + 1], answers[row : row + 1])
        require(
            is_close(dict(other.compute()), numbers),
            f"{owner}: the numbers depend on the order or the batches of the images: join by image id in evaluate()",
        )


def _check_processes(
    make: Callable[[], Evaluator],
    numbers: dict[str, float],
    targets: Sequence[Target],
    answers: Sequence[Any],
    owner: str,
) -> None:
    """Two processes share the images; both get the middle one, as samplers fill up the last batch."""
    middle = len(targets) // 2
    parts = [make(), make()]
    parts[0].update(targets[: middle + 1], answers[: middle + 1])
    parts[1].update(targets[middle:], answers[middle:])
    sent = check_pickles([part.state() for part in parts], owner, "processes send each other what keep() returns")
    gathered = make()
    with no_error(f"{owner}.merge", "it takes the state() of other evaluators"):
        gathered.merge(sent)
    require(
        is_close(dict(gathered.compute()), numbers),
        f"{owner}: the numbers change where two processes share the images: let state() hold all that is kept, and "
        "merge() count each image once",
    )


def _check_weighting(one: Evaluator, numbers: dict[str, float], owner: str) -> None:
    """Images that each count once give the evaluator's own headline, where images can be weighted."""
    with contextlib.suppress(InputError):
        weighting = one.image_weighting()
        once = np.ones(len(weighting.data.image_ids))
        headline = weighting.numbers(once).of_all.get(one.headline)
        require(
            headline is not None and is_close(headline, numbers[one.headline]),
            f"{owner}.image_weighting: with each image once, {one.headline} is {headline}, but compute() gives "
            f"{numbers[one.headline]:.4g}: let both compute the same",
        )


def _check_report(one: Evaluator, owner: str) -> None:
    with no_error(f"{owner}.report", "it takes the outcome of evaluate()"):
        report: Any = one.report(one.evaluation, ReportOptions(per_class=True))
    require(isinstance(report, Report), f"{owner}.report must give a detkit.evaluation.Report: got {report!r:.40}")
    with no_error(f"{owner}.report: its numbers as JSON", "keep plain values in them"):
        json.dumps(report.numbers)
    if "save_detections" in one.extras:
        with no_error(f"{owner}.results", "extras names save_detections, so it gives plain values for a JSON file"):
            json.dumps(one.results())


def _check_reset(make: Callable[[], Evaluator], one: Evaluator, owner: str) -> None:
    one.reset()
    fresh = make()
    require(
        one.evaluation is None and is_close(dict(one.compute()), dict(fresh.compute())),
        f"{owner}.reset must forget all answers: after it the numbers are not those of a new evaluator",
    )
