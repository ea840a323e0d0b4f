"""Readers of shapes and cameras, as Pix3D's splits by the authors of Mesh R-CNN hold them.

An object's entry has ``model``, ``voxel``, ``rot_mat``, ``trans_mat`` and ``K``. Rotation and translation lead to a
camera frame with x to the left and y up (Sun et al., "Pix3D", CVPR 2018); detkit's has x to the right and y down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detkit.data.formats.fields.field_reader import CocoFile, FieldReader, annotation_name, numbers_of
from detkit.data.formats.fields.posed_files import read_posed_files
from detkit.data.packed.columns import ImageRows
from detkit.data.packed.shape_columns import MeshFiles, VoxelFiles
from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.geometry import are_cameras
from detkit.mesh_files import MESH_SUFFIXES
from detkit.voxel_files import VOXEL_SUFFIXES


@dataclass(frozen=True)
class MeshReader(FieldReader):
    """``model``: the path of a mesh, which ``rot_mat`` and ``trans_mat`` place before the camera."""

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> MeshFiles:
        return MeshFiles(*read_posed_files(entries, file, MeshFiles.key, MESH_SUFFIXES))


@dataclass(frozen=True)
class VoxelReader(FieldReader):
    """``voxel``: the path of the occupied cells, which ``rot_mat`` and ``trans_mat`` place before the camera."""

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> VoxelFiles:
        return VoxelFiles(*read_posed_files(entries, file, VoxelFiles.key, VOXEL_SUFFIXES))


@dataclass(frozen=True)
class CameraReader(FieldReader):
    """``camera`` of an image's entry, its intrinsic matrix; else ``K`` of its objects: focal length, principal point.

    Pix3D's focal length is in pixels, and its principal point is the middle of the image.
    """

    per_object = False

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> ImageRows:
        objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in file.annotations:
            objects[annotation.get("image_id")].append(annotation)
        cameras = [_camera(entry, objects[entry.get("id")], file) for entry in entries]
        known = np.array([camera is not None for camera in cameras], dtype=bool)
        if not known.any():
            raise InputError(
                f"{file.path}: no image has a 'camera', and no object a 'K', so it cannot be read from this file"
            )
        values = np.array([np.zeros((3, 3)) if one is None else one for one in cameras], dtype=np.float32)
        return ImageRows(values, "camera", known)


def _camera(entry: dict[str, Any], objects: Sequence[dict[str, Any]], file: CocoFile) -> np.ndarray | None:
    """The camera of an image; None where nothing states it."""
    if entry.get("camera") is not None:
        name = f"{file.path}: the camera of image {entry.get('id')!r}"
        camera = numbers_of(entry["camera"], (3, 3), "float32", name)
        if not are_cameras(camera[None]).all():
            raise InputError(
                f"{name} is {shown(camera.tolist())}, which is no intrinsic matrix: give focal lengths above 0, and "
                "the last row 0 0 1"
            )
        return camera
    objects = [one for one in objects if not (one.get("iscrowd") or one.get("ignore"))]
    stated = [one for one in objects if one.get("K") is not None]
    for one in objects:
        if one.get("K") is None and (stated or one.get("model") is not None):
            raise InputError(
                f"{file.path}: {annotation_name(one)} has no 'K': give the focal length and the principal point, in "
                "pixels, or the 'camera' of the image"
            )
        if one.get("K") != objects[0].get("K"):
            raise InputError(
                f"{file.path}: {annotation_name(one)} has the K {shown(one['K'])}, another object of its image "
                f"{shown(objects[0]['K'])}, and an image has one camera; correct them"
            )
    return _matrix(stated[0], file) if stated else None


def _matrix(annotation: dict[str, Any], file: CocoFile) -> np.ndarray:
    """The intrinsic matrix of a ``K``, three numbers."""
    name = f"{file.path}: the K of {annotation_name(annotation)}"
    focal, x, y = numbers_of(annotation["K"], (3,), "float64", name).tolist()
    if focal <= 0:
        raise InputError(f"{name} has the focal length {focal:g}; it must be above 0, in pixels")
    return np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]])
