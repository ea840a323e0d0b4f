"""Images that are there several times: across splits, where they leak, and within one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.data.faults.problem import MOST_EXAMPLES, Level, Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.trust.inspection.image_scan import ImageFile, ScannedImages
from detkit.trust.inspection.near_duplicates import near_duplicates


@dataclass(frozen=True)
class Pair:
    """Two files with one image, or nearly so.

    Args:
        first: one of them.
        second: the other, of the same split or a later one.
        is_exact: whether their pixels are equal.
    """

    first: ImageFile
    second: ImageFile
    is_exact: bool

    @property
    def is_leak(self) -> bool:
        """Whether they are in different splits."""
        return self.first.split != self.second.split


def duplicate_pairs(scanned: ScannedImages) -> list[Pair]:
    """The pairs of images with equal pixels, each with the first of its kind, and of nearly equal ones.

    Of images with equal pixels, one of each split is compared with others.
    """
    first: dict[bytes, int] = {}
    of_split: dict[tuple[bytes, int], int] = {}
    pairs: list[Pair] = []
    compared: list[int] = []
    paths: set[Path] = set()
    for k, content in enumerate(scanned.contents):
        file = scanned.files[k]
        if not content or file.path in paths:
            continue
        paths.add(file.path)
        if content not in first:
            first[content] = k
        # A copy of an image is named with the first one of its own split or, if it leaks, of the earliest.
        own = of_split.setdefault((content, file.split), k)
        if own != k:
            pairs.append(Pair(scanned.files[own], file, True))
        elif first[content] != k:
            pairs.append(Pair(scanned.files[first[content]], file, True))
        if first[content] == k:
            compared.append(k)
    near = near_duplicates(scanned.thumbnails[compared])
    return pairs + [Pair(scanned.files[compared[a]], scanned.files[compared[b]], False) for a, b in near.tolist()]


def shared_files(scanned: ScannedImages) -> list[Pair]:
    """The pairs of images of different splits that are one file."""
    first: dict[Path, ImageFile] = {}
    found = [Pair(first[file.path], file, True) for file in scanned.files if first.setdefault(file.path, file) != file]
    return [pair for pair in found if pair.is_leak]


def duplicate_problems(splits: Sequence[WrittenSplit], pairs: Sequence[Pair]) -> Iterator[Problem]:
    """The faults that pairs are."""
    for is_leak in (True, False):
        for is_exact in (True, False):
            own = [pair for pair in pairs if pair.is_leak is is_leak and pair.is_exact is is_exact]
            groups: dict[str, list[Pair]] = {}
            for pair in own:
                joined = dict.fromkeys(splits[file.split].name for file in (pair.first, pair.second))
                groups.setdefault(", ".join(joined), []).append(pair)
            for names, group in groups.items():
                yield _problem(names, group, is_leak, is_exact)


def _problem(names: str, pairs: Sequence[Pair], is_leak: bool, is_exact: bool) -> Problem:
    kind = "equal" if is_exact else "nearly equal"
    level: Level = "warning" if is_leak or is_exact else "note"
    if is_leak:
        advice = "the evaluation sees images that were trained on: keep each in one split, and split by scene or video"
    elif is_exact:
        advice = "keep one of them, with all objects"
    else:
        advice = "frames of a video or copies teach little: keep them in one split, and leave some out"
    return Problem(
        f"{'exact' if is_exact else 'near'}_{'leaks' if is_leak else 'duplicates'}",
        level,
        names,
        len(pairs),
        f"{counted(len(pairs), 'pair of images is', 'pairs of images are')} {kind}"
        + (", in different splits" if is_leak else ""),
        advice,
        [f"{pair.first.path} and {pair.second.path}" for pair in pairs[:MOST_EXAMPLES]],
    )
