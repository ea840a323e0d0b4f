"""The metadata of a file, compared with its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from detkit.exporting.metadata import FORMAT
from detkit.exporting.runtimes import ExportedFile
from detkit.models import VisionModel
from detkit.structures.weights_source import PROVENANCE_KEY, provenance_text
from detkit.tasks import task_of
from detkit.trust.certificate.certificate_findings import Finding
from detkit.trust.certificate.stated_pixels import KINDS

EXPORT_AGAIN = "export the checkpoint again, or correct the metadata of the file"


class StatedFacts:
    """The metadata of a file.

    Args:
        file: the file.
        model: of the checkpoint.
    """

    def __init__(self, file: ExportedFile, model: VisionModel) -> None:
        self.file, self.model, self.task = file, model, task_of(model)
        self.broken: list[str] = []
        self.classes = self._list("detkit.classes")
        self.preprocess = self._mapping("detkit.preprocess")

    @property
    def is_raw(self) -> bool:
        """Whether decoding and suppression are left out of the file."""
        known = self.task.export(self.model)
        return "detkit.format" not in self.file.facts and not set(self.file.outputs) <= known.keys()

    @property
    def own_classes(self) -> list[str]:
        """The names of the checkpoint's classes."""
        return [category.name for category in self.model.categories or []]

    @property
    def labels(self) -> list[int] | None:
        """For each class of the file the checkpoint's label of that name; None where they are equal or no such."""
        own = self.own_classes
        if self.classes in (None, own) or sorted(self.classes or []) != sorted(own) or len(set(own)) != len(own):
            return None
        return [own.index(name) for name in self.classes or []]

    @property
    def other_preprocess(self) -> Mapping[str, Any] | None:
        """What the file says of its input where this is another one than the checkpoint's, and can be made."""
        stated = self.preprocess
        if self.is_raw or stated is None or stated == _plain(self.model.preprocess.facts()):
            return None
        return stated if stated.get("kind") in KINDS else None

    def findings(self) -> list[Finding]:
        """What differs from the checkpoint."""
        missing = self._missing()
        return [
            *(Finding("metadata", f"{key} is no JSON", EXPORT_AGAIN) for key in self.broken),
            *([] if missing is None else [missing]),
            *self._of_task(),
            *self._of_classes(),
            *self._of_preprocess(),
            *self._of_outputs(),
            *self._of_sources(),
            *self._of_precision(),
        ]

    def _missing(self) -> Finding | None:
        needed = ["detkit.classes", *([] if self.is_raw else ["detkit.preprocess"])]
        lacking = [key for key in needed if key not in self.file.facts]
        if not lacking:
            return None
        is_foreign = not any(key.startswith("detkit.") for key in self.file.facts)
        sentence = (
            "the file has no metadata of `detkit export`, so input and classes are those of the checkpoint"
            if is_foreign
            else f"the file does not say {' and '.join(lacking)}: those of the checkpoint are taken"
        )
        return Finding("metadata", sentence, "give readers of the file its classes and preprocessing", is_fault=False)

    def _of_task(self) -> list[Finding]:
        facts, found = self.file.facts, []
        for key, own in (("task", self.task.name), ("model", type(self.model).__name__)):
            if facts.get(f"detkit.{key}", own) != own:
                found.append(
                    Finding(key, f"the file says {facts[f'detkit.{key}']}, the checkpoint is {own}", EXPORT_AGAIN)
                )
        if facts.get("detkit.format", FORMAT) != FORMAT:
            sentence = f"the file says format {facts['detkit.format']}, this release of detkit writes {FORMAT}"
            found.append(Finding("format", sentence, EXPORT_AGAIN))
        return found

    def _of_classes(self) -> list[Finding]:
        own, stated = self.own_classes, self.classes
        if stated in (None, own) or stated is None:
            return []
        if sorted(stated) == sorted(own):
            row = next(row for row, pair in enumerate(zip(stated, own, strict=True)) if pair[0] != pair[1])
            sentence = (
                f"the order differs: label {row} is {stated[row]!r} in the file, {own[row]!r} in the checkpoint; "
                "answers are joined by name"
            )
        elif len(stated) != len(own):
            sentence = f"the file names {len(stated)} classes, the checkpoint has {len(own)}"
        else:
            pairs = [(a, b) for a, b in zip(stated, own, strict=True) if a != b]
            sentence = f"the names differ: {pairs[0][0]!r} in the file is {pairs[0][1]!r} in the checkpoint"
        return [Finding("classes", sentence, EXPORT_AGAIN)]

    def _of_preprocess(self) -> list[Finding]:
        own, stated, found = _plain(self.model.preprocess.facts()), self.preprocess, []
        if self.is_raw:
            for key in ("mean", "std"):
                said = self._list(f"detkit.{key}")
                values = _plain(getattr(self.model.preprocess, key).flatten().tolist())
                if said is not None and said != values:
                    found.append(Finding("preprocessing", f"{key} is {said} in the file, {values} in the checkpoint"))
            return found
        if stated is None:
            return []
        differing = [key for key in {**own, **stated} if own.get(key) != stated.get(key)]
        for key in differing:
            sentence = f"{key} is {stated.get(key)} in the file, {own.get(key)} in the checkpoint"
            found.append(Finding("preprocessing", sentence, EXPORT_AGAIN))
        if differing and stated.get("kind") not in KINDS:
            sentence = f"what the file says ({stated.get('kind')}) cannot be made, so the checkpoint's is used"
            found.append(Finding("preprocessing", sentence, is_fault=False))
        return found

    def _of_outputs(self) -> list[Finding]:
        if self.is_raw:
            return []
        stated, given = self._mapping("detkit.outputs"), self.file.outputs
        if stated is None or list(stated) == given:
            return []
        return [Finding("outputs", f"the file says {', '.join(stated)}, but gives {', '.join(given)}", EXPORT_AGAIN)]

    def _of_sources(self) -> list[Finding]:
        found = []
        licenses = sorted({source.license for source in self.model.provenance})
        stated = self._list("detkit.license")
        if stated is not None and stated != licenses:
            sentence = f"the file says {stated}, the checkpoint {licenses}"
            found.append(Finding("license", sentence, EXPORT_AGAIN))
        own = provenance_text(self.model.provenance)
        if _plain(self.file.facts.get(PROVENANCE_KEY, own)) != _plain(own):
            found.append(Finding("provenance", "the file names other sources of its weights", EXPORT_AGAIN))
        return found

    def _of_precision(self) -> list[Finding]:
        stated = self.file.facts.get("detkit.precision", self.file.precision)
        if stated == self.file.precision:
            return []
        sentence = f"the file says {stated}, but its weights are {self.file.precision}"
        return [Finding("precision", sentence, EXPORT_AGAIN)]

    def _read(self, key: str) -> Any:
        if key not in self.file.facts:
            return None
        try:
            return json.loads(self.file.facts[key])
        except ValueError:
            if key not in self.broken:
                self.broken.append(key)
            return None

    def _list(self, key: str) -> list[Any] | None:
        read = self._read(key)
        return read if isinstance(read, list) else None

    def _mapping(self, key: str) -> dict[str, Any] | None:
        read = self._read(key)
        return read if isinstance(read, dict) else None


def _plain(value: Any) -> Any:
    """A value as it is after it was written and read as JSON."""
    return json.loads(json.dumps(value))
