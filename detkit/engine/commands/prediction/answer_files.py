"""Further files of each answer, such as label maps, beside the annotated copies of ``detkit predict``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from detkit.errors import InputError
from detkit.files import write_whole
from detkit.models.answers import Answer
from detkit.structures import Category
from detkit.tasks import Task

_DIGITS = 6  # of the number of a frame


def chosen_endings(task: Task, names: Sequence[str] | None) -> list[str]:
    """The endings of the files to write for each answer.

    Args:
        task: whose answers they hold.
        names: those that are asked for; None for those that the task writes unasked.

    Raises:
        InputError: the task has no such file.
    """
    if names is None:
        return [ending for ending, is_default in task.answer_files.items() if is_default]
    for name in names:
        if name not in task.answer_files:
            known = ", ".join(task.answer_files) or "no files but the annotated copies and the results file"
            raise InputError(f"--files {name}: predictions of the task {task.name} have {known}: name one of these.")
    return list(dict.fromkeys(names))


class AnswerFiles:
    """Writes files named as the annotated copies: ``street.labels.png`` beside ``street.jpg``.

    Files of a frame of a video have its number: ``walk.000012.labels.png``. Where copies of two inputs differ in their
    suffixes alone, these are kept: ``street.jpg.labels.png``.

    Args:
        copies: the annotated copy of each input.
        endings: of the files.
        task: makes their content.
        categories: of the labels.
    """

    def __init__(
        self,
        copies: Mapping[Path | str, Path],
        endings: Collection[str],
        task: Task,
        categories: Sequence[Category],
    ) -> None:
        self.endings, self.task, self.categories = endings, task, categories
        uses = Counter(copy.with_suffix("") for copy in copies.values())
        self._stems = {
            source: copy if uses[copy.with_suffix("")] > 1 else copy.with_suffix("") for source, copy in copies.items()
        }
        self._taken = {path.resolve() for path in [*copies.values(), *map(Path, filter(_is_file, copies))]}

    def write(self, source: Path | str, frame: int | None, answer: Answer) -> dict[str, Path]:
        """Write those of one answer; gives their paths by their endings.

        Args:
            source: the input.
            frame: its number in a video.
            answer: for it.

        Raises:
            InputError: one would replace an input or an annotated copy, or cannot be written.
        """
        number = "" if frame is None else f".{frame:0{_DIGITS}d}"
        written = {}
        for ending in self.endings:
            path = self._stems[source].with_name(f"{self._stems[source].name}{number}.{ending}")
            if path.resolve() in self._taken:
                raise InputError(f"{path} would replace an image of that name: rename it, or leave out {ending}.")
            write_whole(path, self.task.answer_file(ending, answer, self.categories))
            written[ending] = path
        return written


def _is_file(source: Path | str) -> bool:
    return isinstance(source, Path)
