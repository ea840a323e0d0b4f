"""Detection of objects with their shapes: boxes, voxels and meshes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from detkit.evaluation import CocoEvaluator, MeshEvaluator
from detkit.evaluation.meshes.given_meshes import in_units_of_depth
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.mesh_sections import mesh_section
from detkit.results.mesh_results import SHAPE_FILES, object_names, shape_facts, shape_file
from detkit.structures import Category, Detections, Target
from detkit.tasks.detection import Detection
from detkit.tasks.task import NamedEvaluator

_HOLDS = {"mesh": ("meshes.glb", "meshes.obj", "turntable.gif"), "voxels": ("voxels.npz",)}
"""The files that hold each shape of a results file."""


class MeshDetection(Detection):
    """Object detection with the shape of each object."""

    name = "detection of shapes"
    evaluators = (MeshEvaluator, CocoEvaluator)
    named = {**Detection.named, "mesh": NamedEvaluator(MeshEvaluator, "meshes")}  # noqa: RUF012
    answer_files = SHAPE_FILES

    def results(self, answer: Detections, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The detections in COCO's results format, with facts of their shapes, see `shape_facts`."""
        entries = super().results(answer, categories)
        names = object_names(answer, categories)
        return [
            {**entry, **shape_facts(answer, row, name)}
            for row, (entry, name) in enumerate(zip(entries, names, strict=True))
        ]

    def results_content(
        self, entries: Sequence[dict[str, Any]], files: Sequence[Mapping[str, str]], categories: Sequence[Category]
    ) -> Any:
        """The entries, each shape with the names of the files that hold it."""
        return [_with_files(entry, own) for entry, own in zip(entries, files, strict=True)]

    def answer_file(self, ending: str, answer: Detections, categories: Sequence[Category]) -> bytes:
        """All meshes of an image for viewers, a turntable of them, or the voxels; see `shape_file`."""
        return shape_file(ending, answer, categories)

    @property
    def exported_parts(self) -> frozenset[str]:
        """All but meshes: an exported graph ends with the voxels."""
        return self.parts - {"meshes"}

    def report(self, evaluated: Evaluated) -> list[Section]:
        """Those of detection, and the meshes of some images."""
        return [*super().report(evaluated), *mesh_section(evaluated)]

    def truth(self, target: Target) -> Detections | None:
        """A detection for each object, its mesh in units of the distance of its center."""
        truth, objects = super().truth(target), target.objects()
        if truth is None or objects.meshes is None:
            return truth
        return replace(truth, meshes=in_units_of_depth(objects.meshes), camera=target.camera)


def _with_files(entry: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """An entry whose shapes name those of an image's `files` that hold them."""
    named = {
        shape: {**entry[shape], "files": [files[ending] for ending in endings if ending in files]}
        for shape, endings in _HOLDS.items()
        if shape in entry
    }
    return {**entry, **named}
