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


def shape_facts(answer: Detections, row: int, name: str) -> dict[str, Any]:
    """What a results file says of the shape of a detection; the arrays are in files of their own.

    ``mesh`` has the object's name in the files, the numbers of vertices and faces, and ``bounds``, the least and the
    greatest x, y and z in the camera frame, in units of the distance of the object's center; None without vertices.
    ``voxels`` has the size of the grid.
    """
    facts: dict[str, Any] = {}
    if answer.meshes is not None:
        mesh = answer.meshes[row]
        bounds = [side.tolist() for side in mesh.vertices.aminmax(dim=0)] if len(mesh.vertices) else None
        facts["mesh"] = {
            "object": name,
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "bounds": bounds,
        }
    if answer.voxels is not None:
        facts["voxels"] = {"size": list(answer.voxels.shape[1:])}
    return facts


def shape_file(ending: str, answer: Detections, categories: Sequence[Category]) -> bytes:
    """The content of one of `SHAPE_FILES`.

    Meshes are in the frame of viewers, x right, y up, z toward the viewer, with the camera in the origin.

    Raises:
        InputError: the answer has no such shapes.
    """
    if ending == "voxels.npz":
        return _voxels(answer)
    if answer.meshes is None:
        raise InputError(f"{ending}: these detections have no meshes, since the model answers none; leave it out")
    names, colors = object_names(answer, categories), _colors(answer)
    meshes = answer.meshes.to("cpu")
    if ending == "turntable.gif":
        return animated_gif(turntable(meshes, names, colors))
    upright: Meshes = camera_to_y_up(meshes)
    return glb_content(upright, names, colors) if ending == "meshes.glb" else named_obj_text(upright, names).encode()


def _colors(answer: Detections) -> list[Color]:
    """Those of drawings."""
    return instance_colors(answer.labels.tolist(), answer.boxes.cpu().numpy().round().astype(int))


def _voxels(answer: Detections) -> bytes:
    if answer.voxels is None:
        raise InputError("voxels.npz: these detections have no voxels, since the model answers none; leave it out")
    content = io.BytesIO()
    np.savez_compressed(content, voxels=answer.voxels.cpu().numpy(), boxes=answer.boxes.cpu().numpy())
    return content.getvalue()
