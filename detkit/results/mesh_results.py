"""Files of the shapes of detections: scenes of meshes for viewers, turntables, and voxels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detkit.errors import InputError
from detkit.mesh_files import camera_to_y_up, glb_content, named_obj_text
from detkit.structures import Category, Detections, Meshes
from detkit.visualization.colors import Color, instance_colors
from detkit.visualization.meshes.turntable import animated_gif, turntable

SHAPE_FILES: Mapping[str, bool] = {
    "meshes.glb": True,
    "turntable.gif": True,
    "meshes.obj": False,
    "voxels.npz": False,
}
"""The endings of files of shapes, and whether ``detkit predict`` writes them unasked."""


def object_names(answer: Detections, categories: Sequence[Category]) -> list[str]:
    """The name of each detection in files: its class and its number in the image, from 1, such as ``chair 2``."""
    return [f"{categories[label].name} {number}" for number, label in enumerate(answer.labels.tolist(), start=1)]


def mesh_facts(mesh: Meshes) -> dict[str, Any]:
    """What a results file says of one mesh; the arrays are in files of their own.

    The numbers of ``vertices`` and ``faces``, and ``bounds``, the least and the greatest x, y and z in the camera
    frame; None without vertices.
    """
    bounds = [side.tolist() for side in mesh.vertices.aminmax(dim=0)] if len(mesh.vertices) else None
    return {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "bounds": bounds}


def shape_facts(answer: Detections, row: int, name: str) -> dict[str, Any]:
    """What a results file says of the shape of a detection.

    ``mesh`` has the object's name in the files and `mesh_facts`, in units of the distance of the object's center.
    ``voxels`` has the size of the grid.
    """
    facts: dict[str, Any] = {}
    if answer.meshes is not None:
        facts["mesh"] = {"object": name, **mesh_facts(answer.meshes[row])}
    if answer.voxels is not None:
        facts["voxels"] = {"size": list(answer.voxels.shape[1:])}
    return facts


def shape_file(ending: str, answer: Detections, categories: Sequence[Category]) -> bytes:
    """The content of one of `SHAPE_FILES`.

    Raises:
        InputError: the answer has no such shapes.
    """
    if ending == "voxels.npz":
        return _voxels(answer)
    if answer.meshes is None:
        raise InputError(f"{ending}: these detections have no meshes, since the model answers none; leave it out")
    return mesh_file(ending.rpartition(".")[2], answer.meshes, object_names(answer, categories), _colors(answer))


def mesh_file(suffix: str, meshes: Meshes, names: Sequence[str], colors: Sequence[Color]) -> bytes:
    """Meshes of the camera frame for viewers, with x right, y up and z toward the viewer, or turning.

    Args:
        suffix: ``glb``, ``obj`` or ``gif``.
        meshes: of N objects.
        names: of each.
        colors: of each.
    """
    own = meshes.to("cpu")
    if suffix == "gif":
        return animated_gif(turntable(own, names, colors))
    upright = camera_to_y_up(own)
    return glb_content(upright, names, colors) if suffix == "glb" else named_obj_text(upright, names).encode()


def _colors(answer: Detections) -> list[Color]:
    """Those of drawings."""
    return instance_colors(answer.labels.tolist(), answer.boxes.cpu().numpy().round().astype(int))


def _voxels(answer: Detections) -> bytes:
    if answer.voxels is None:
        raise InputError("voxels.npz: these detections have no voxels, since the model answers none; leave it out")
    content = io.BytesIO()
    np.savez_compressed(content, voxels=answer.voxels.cpu().numpy(), boxes=answer.boxes.cpu().numpy())
    return content.getvalue()
