"""What meshes must have to be compared, said in one sentence; and the depth of their centers."""

from __future__ import annotations

from torch import Tensor

from detkit.errors import InputError
from detkit.ops.meshes import face_areas, object_depth_ranges
from detkit.structures.meshes import Meshes


def check_predicted_meshes(meshes: Meshes, called: str) -> None:
    """Raise an `InputError` where a vertex is not finite; `called` and the number of the mesh begin the sentence."""
    _check_finite(meshes, called, "look for a diverged model")


def check_true_meshes(meshes: Meshes, called: str) -> None:
    """Raise an `InputError` where a mesh has no faces or no area, or a vertex is not finite."""
    _check_finite(meshes, called, "correct its file")
    for number, (vertices, faces) in enumerate(zip(meshes.vertices_list(), meshes.faces_list(), strict=True)):
        if not len(faces):
            raise InputError(f"{called} {number} has no faces, and so no surface to compare with; leave the object out")
        if not bool((vertices != vertices[0]).any()):
            raise InputError(f"{called} {number} is a single point, which gives no scale; correct its file")
        if not bool(face_areas(vertices.double(), faces).any()):
            raise InputError(
                f"{called} {number} has faces without area alone, and so no surface to compare with; correct its file"
            )


def center_depths(meshes: Meshes) -> Tensor:
    """float64 ``(M,)`` on the CPU: the middle between the least and the greatest z of each mesh; 1 without vertices."""
    middles = object_depth_ranges(meshes.vertices.double(), meshes.vertex_counts).mean(dim=1).cpu()
    return middles.where(meshes.topology.vertex_counts > 0, 1.0)


def in_units_of_depth(meshes: Meshes) -> Meshes:
    """Meshes as `Detections` have them: each in units of the depth of its center."""
    return enlarged(meshes, 1 / center_depths(meshes))


def enlarged(meshes: Meshes, factors: Tensor) -> Meshes:
    """The meshes, each times its factor ``(M,)``, around the origin."""
    each = factors.to(meshes.vertices)[meshes.topology.vertex_objects]
    return meshes.with_vertices(meshes.vertices * each[:, None])


def _check_finite(meshes: Meshes, called: str, advice: str) -> None:
    wrong = ~meshes.vertices.isfinite().all(dim=1)
    if bool(wrong.any()):
        number = int(meshes.topology.vertex_objects[wrong][0])
        raise InputError(f"{called} {number} has a vertex that is not finite; {advice}")
