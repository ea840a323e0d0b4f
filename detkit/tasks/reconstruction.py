"""Reconstruction: the shape of the one object of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation import SingleMeshEvaluator
from detkit.evaluation.meshes.mesh_comparison import compare_meshes
from detkit.heads import Context
from detkit.preprocess import Batch
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.mesh_sections import object_mesh_section
from detkit.results.mesh_results import mesh_facts, mesh_file
from detkit.structures import Category, ObjectShape, Target
from detkit.tasks.differences.shape_differences import ShapeDifferences
from detkit.tasks.recovered_objects import Recovered
from detkit.tasks.task import NamedEvaluator, Task
from detkit.visualization.image_files import to_image_array
from detkit.visualization.meshes.mesh_drawing import SILVER, draw_meshes

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.models import VisionModel


class Reconstruction(Task):
    """The mesh of the one object of an image."""

    name = "reconstruction"
    answer = ObjectShape
    parts = frozenset({"meshes", "voxels"})
    evaluators = (SingleMeshEvaluator,)
    named = {"single_mesh": NamedEvaluator(SingleMeshEvaluator, "meshes")}  # noqa: RUF012
    results_file = "shapes.json"
    answer_files = {"mesh.glb": True, "turntable.gif": True, "mesh.obj": False}  # noqa: RUF012

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse data without meshes."""
        super().check_data(model, data)
        packed = data.train_dataset.packed_annotations
        if packed is not None and "meshes" not in packed.columns:
            raise InputError(
                f"{data.train_dataset.annotations_path} has no meshes, but the {type(model).__name__} learns the shape "
                "of each image's object: give data with meshes, see docs/data.md."
            )

    def results(self, answer: ObjectShape, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The size of the mesh, its bounding box in the camera frame (least and greatest x y z), and the camera."""
        return [{**mesh_facts(answer.meshes), "camera": answer.camera.tolist()}]

    def results_content(
        self, entries: Sequence[dict[str, Any]], files: Sequence[Mapping[str, str]], categories: Sequence[Category]
    ) -> Any:
        """The entries, each with the names of the files that hold its mesh."""
        return [{**entry, "files": list(own.values())} for entry, own in zip(entries, files, strict=True)]

    def answer_file(self, ending: str, answer: ObjectShape, categories: Sequence[Category]) -> bytes:
        """The mesh for viewers, or a turntable of it; see `mesh_file`."""
        return mesh_file(ending.rpartition(".")[2], answer.meshes, ["object"], [SILVER])

    def draw_truth(self, image: np.ndarray | Tensor, target: Target, categories: Sequence[Category]) -> np.ndarray:
        """The meshes of the target over the image."""
        if target.meshes is None or target.camera is None:
            return to_image_array(image)
        return draw_meshes(image, target.meshes, target.camera)

    def title(self, answer: Any, score_threshold: float) -> str:
        """Of meshes."""
        return "Meshes"

    def truth(self, target: Target) -> ObjectShape | None:
        """The mesh of the target; None where it, or the camera, is not annotated."""
        if target.meshes is None or target.camera is None or len(target.meshes) != 1:
            return None
        return ObjectShape(target.meshes, target.camera)

    def recovered(self, target: Target, answer: ObjectShape) -> Recovered:
        """The F1 of the mesh at a twentieth of the true mesh's longest edge."""
        if target.meshes is None:
            return Recovered(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        f1 = compare_meshes(answer.meshes, target.meshes).f1[:, -1]
        return Recovered(torch.from_numpy(f1), torch.zeros(len(f1), dtype=torch.int64))

    def report(self, evaluated: Evaluated) -> list[Section]:
        """The metrics, and the meshes of some images."""
        return [*super().report(evaluated), *object_mesh_section(evaluated)]

    def export(self, model: VisionModel) -> dict[str, str]:
        """The voxels."""
        return {
            "voxels": "(B, D, H, W) probability that a cell of the frustum of the image is occupied, near cells first; "
            "the mesh is that of the cells, without refinement"
        }

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[ObjectShape]:
        """The voxels of each image, and the mesh of those that are occupied."""
        shapes: list[ObjectShape] = model.shapes_of_voxels(outputs["voxels"].float(), Context(batch))  # type: ignore[operator]
        return shapes

    def differences(self, categories: Sequence[Category], tolerance: float = 1.0) -> ShapeDifferences:
        """Of the probabilities of voxels, and of which are occupied."""
        return ShapeDifferences(tolerance)
