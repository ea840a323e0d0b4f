"""The contract of a task, as a check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from detkit.data.image_dataset import ImageDataset
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.reporting import Evaluated, Page, Section, page_html
from detkit.structures import Category, Target
from detkit.tasks import Recovered, Task
from detkit.testing.contract import ContractError, deep_copy, is_close, no_error, require

_ADDED = {"file_name", "image_id", "frame"}  # by the command, to each entry of the results


class _NoImages(ImageDataset):
    """A data set without images."""

    @property
    def categories(self) -> list[Category]:
        return []

    @property
    def image_ids(self) -> list[int]:
        return []

    @property
    def image_sizes(self) -> np.ndarray[Any, Any]:
        return np.zeros((0, 2))

    def read(self, index: int) -> tuple[np.ndarray[Any, Any], Target]:
        raise IndexError(index)


def check_task(
    task: Task,
    image: np.ndarray[Any, Any],
    answer: Any,
    categories: Sequence[Category],
    target: Target | None = None,
) -> None:
    """Hold a task to its contract: its answers, its evaluators, its results file and its drawings.

    Args:
        task: an object of your own class.
        image: RGB ``(H, W, 3)`` uint8.
        answer: what a model of the task would answer for it, in its pixels.
        categories: the class of each label.
        target: ground truth of an image, whose `truth` must be recovered from itself; None leaves this out.

    Raises:
        ContractError: a rule is broken; the message says which.
    """
    owner = type(task).__name__
    require(isinstance(task, Task), f"a task is an object of a detkit.tasks.Task: got {task!r:.60}, derive it and call")
    _check_attributes(task, owner)
    _check_evaluators(task, owner)
    _check_answer(task, answer, owner)
    _check_results(task, answer, categories, owner)
    _check_drawing(task, image, answer, categories, owner)
    _check_report(task, owner)
    if target is not None:
        _check_truth(task, target, owner)
    refusal = task.refusal("--errors", "MyModel")
    one_sentence = isinstance(refusal, str) and "--errors" in refusal and "\n" not in refusal.strip()
    require(one_sentence, f"{owner}.refusal must give one sentence that names the option: got {refusal!r}")


def _check_attributes(task: Task, owner: str) -> None:
    for name in ("name", "results_file"):
        value = getattr(task, name, None)
        require(isinstance(value, str) and value != "", f"{owner}.{name} must be a name: got {value!r}")
    require(task.results_file.endswith(".json"), f"{owner}.results_file must end in .json: got {task.results_file!r}")
    kind = getattr(task, "answer", None)
    require(isinstance(kind, type), f"{owner}.answer must be the type of a model's answer: got {kind!r}")
    parts = getattr(task, "parts", None)
    named = isinstance(parts, frozenset) and len(parts) > 0 and all(isinstance(part, str) for part in parts)
    require(named, f"{owner}.parts must be a frozenset of names of what evaluators read of an answer: got {parts!r}")


def _check_evaluators(task: Task, owner: str) -> None:
    kinds: Any = getattr(task, "evaluators", None)
    classes = isinstance(kinds, tuple) and len(kinds) > 0
    require(
        classes and all(isinstance(kind, type) and issubclass(kind, Evaluator) for kind in kinds),
        f"{owner}.evaluators must be a tuple of at least one class of evaluators: got {kinds!r}",
    )
    reads = {kind.__name__: getattr(kind, "reads", None) for kind in kinds}
    reads |= {f"named[{name!r}]": named.reads for name, named in task.named.items()}
    for name, part in reads.items():
        require(
            part is None or part in task.parts,
            f"{owner}: {name} reads {part!r}, which is not among the parts {sorted(task.parts)}: name it there",
        )
    known = {kind.__name__ for kind in kinds} | {named.kind.__name__ for named in task.named.values()}
    headlines = [kind.__name__ for kind in kinds if getattr(kind, "headline", None) == ""]
    require(not headlines, f"{owner}: the evaluators {headlines} of {sorted(known)} have no headline")


def _check_answer(task: Task, answer: Any, owner: str) -> None:
    got, kind = type(answer).__name__, task.answer.__name__
    require(isinstance(answer, task.answer), f"{owner}.answer is {kind}, but the answer is a {got}: give its type")
    missing = sorted(part for part in task.parts if not hasattr(answer, part))
    require(not missing, f"{owner}.parts names {missing}, which a {got} does not have: parts are its attributes")
    with no_error(f"{got}.to('cpu')", "an answer moves between devices, .to(device)"):
        moved = answer.to("cpu")
    require(isinstance(moved, task.answer), f"{got}.to(device) must give a {kind}: got {type(moved).__name__}")
    model = VisionModel()
    with no_error(f"{owner}.check_answers of a {kind}", "it refuses other types alone"):
        task.check_answers(model, [answer])
    try:
        task.check_answers(model, [object()])
    except InputError:
        pass
    else:
        raise ContractError(f"{owner}.check_answers must refuse what is not a {kind}: do not override it for less")
    for score in (0.0, task.least_score, 1.0):
        with no_error(f"{owner}.select", "it gives the part of an answer that scores at least so much"):
            selected = task.select(answer, score)
        got = type(selected).__name__
        require(isinstance(selected, task.answer), f"{owner}.select must give a {kind} for any score: got {got}")


def _check_results(task: Task, answer: Any, categories: Sequence[Category], owner: str) -> None:
    before = deep_copy(answer, type(answer).__name__)
    with no_error(f"{owner}.results", "it gives the entries of an image for a JSON file"):
        entries: Any = task.results(answer, categories)
    is_list = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    require(is_list, f"{owner}.results must give a list of dicts, one for each entry: got {entries!r:.80}")
    with no_error(f"{owner}.results as JSON", "hold plain values alone, tensor.tolist()"):
        read = json.loads(json.dumps(entries, allow_nan=False))
    require(
        read == json.loads(json.dumps(read)) and all(set(entry) == set(map(str, entry)) for entry in entries),
        f"{owner}.results must have texts as keys, since JSON has no others",
    )
    taken = sorted({key for entry in entries for key in entry} & _ADDED)
    require(not taken, f"{owner}.results gives {taken}, which the command adds to each entry: leave them out")
    with no_error(f"{owner}.results_content as JSON", "it gives what the results file holds, of plain values alone"):
        added = [{"file_name": "a.png", "image_id": "a.png", **entry} for entry in entries]
        json.dumps(task.results_content(added, [{}] * len(added), categories), allow_nan=False)
    require(is_close(answer, before), f"{owner}.results changes the answer: let it copy what it changes")


def _check_truth(task: Task, target: Target, owner: str) -> None:
    with no_error(f"{owner}.truth", "it gives the perfect answer for a target, or None"):
        truth = task.truth(target)
    require(
        truth is None or isinstance(truth, task.answer),
        f"{owner}.truth must give a {task.answer.__name__} or None: got {truth!r:.60}",
    )
    if truth is None:
        return
    with no_error(f"{owner}.recovered", "it compares an answer with the truth of a target"):
        recovered: Any = task.recovered(target, truth)
    require(isinstance(recovered, Recovered), f"{owner}.recovered must give a Recovered: got {recovered!r:.60}")
    least = float(recovered.overlaps.min()) if len(recovered) else 1.0
    require(least > 0.999, f"{owner}.recovered must find all of the truth in itself: got an overlap of {least:.3f}")


def _check_report(task: Task, owner: str) -> None:
    with no_error(f"{owner}.report", "it gives the sections of the report, also where no evaluator has a result"):
        sections: Any = task.report(Evaluated({}, _NoImages()))
    are_sections = isinstance(sections, list) and all(isinstance(one, Section) for one in sections)
    require(are_sections, f"{owner}.report must give a list of detkit.reporting.Section: got {sections!r:.80}")
    with no_error(f"the page of {owner}.report", "each section has a name of its own"):
        page_html(Page(owner, "", sections))


def _check_drawing(
    task: Task, image: np.ndarray[Any, Any], answer: Any, categories: Sequence[Category], owner: str
) -> None:
    before = image.copy()
    with no_error(f"{owner}.draw", "it takes an image, an answer, the categories and a score"):
        drawings = {"draw": task.draw(image, answer, categories, task.least_score)}
    with no_error(f"{owner}.draw_truth", "it takes an image and its target"):
        drawings["draw_truth"] = task.draw_truth(image, Target.empty(), categories)
    for name, drawing in drawings.items():
        is_image = isinstance(drawing, np.ndarray) and drawing.dtype == np.uint8 and drawing.shape == image.shape
        got = f"{drawing.shape} {drawing.dtype}" if isinstance(drawing, np.ndarray) else type(drawing).__name__
        require(is_image, f"{owner}.{name} must give an RGB image {image.shape} uint8: got {got}")
        require(drawing is not image, f"{owner}.{name} must give a copy of the image and not the image itself")
    require(np.array_equal(image, before), f"{owner}.draw changes the image that it is given: draw on a copy")
    title = task.title(answer, task.least_score)
    require(isinstance(title, str) and title != "", f"{owner}.title must be a text above the drawing: got {title!r}")
    height, width = image.shape[:2]
    with no_error(f"{owner}.resized", "it gives the answer in pixels of an image of another size"):
        resized = task.resized(answer, (height, width), (2 * height, 2 * width))
    require(
        isinstance(resized, task.answer), f"{owner}.resized must give a {task.answer.__name__}: got {resized!r:.30}"
    )
