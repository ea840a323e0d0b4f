"""Counts that do not fit their rows, and faces that name no vertex, are refused on the CPU."""

from __future__ import annotations

import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import (
    face_areas,
    face_normals,
    object_depth_ranges,
    sample_points,
    to_box_frustum,
    vertex_normals,
    voxelize,
    voxelize_points,
)
from detkit.structures.meshes import icosphere

SPHERE = icosphere(0)
VERTICES, FACES = 0.5 * SPHERE.vertices, SPHERE.faces
SIZE = (4, 4, 4)
BOX, CAMERA, RANGE = torch.tensor([[0.0, 0, 4, 4]]), torch.eye(3)[None], torch.tensor([[1.0, 2]])

WITH_COUNTS = {
    "voxelize": (20, lambda counts: voxelize(VERTICES, FACES, counts, SIZE)),
    "sample_points": (20, lambda counts: sample_points(VERTICES, FACES, counts, 3)),
    "voxelize_points": (12, lambda counts: voxelize_points(VERTICES, counts, SIZE)),
    "object_depth_ranges": (12, lambda counts: object_depth_ranges(VERTICES, counts)),
    "to_box_frustum": (12, lambda counts: to_box_frustum(VERTICES, counts, BOX, CAMERA, RANGE)),
}
WITH_FACES = {
    "voxelize": lambda faces: voxelize(VERTICES, faces, SPHERE.face_counts, SIZE),
    "sample_points": lambda faces: sample_points(VERTICES, faces, SPHERE.face_counts, 3),
    "face_areas": lambda faces: face_areas(VERTICES, faces),
    "face_normals": lambda faces: face_normals(VERTICES, faces),
    "vertex_normals": lambda faces: vertex_normals(VERTICES, faces),
}


@pytest.mark.parametrize("name", WITH_COUNTS)
def test_counts_that_do_not_sum_to_the_rows(name):
    rows, call = WITH_COUNTS[name]
    call(torch.tensor([rows]))
    for wrong in ([rows - 1], [rows + 1]):
        with pytest.raises(InputError, match=rf"^the counts of the objects are \{wrong}, but there are {rows} rows; "):
            call(torch.tensor(wrong, dtype=torch.int64))


def test_no_counts_at_all():
    with pytest.raises(InputError, match=r"counts of the objects are \[\], but there are 20 rows"):
        voxelize(VERTICES, FACES, torch.zeros(0, dtype=torch.int64), SIZE)
    assert voxelize(VERTICES, FACES[:0], torch.zeros(0, dtype=torch.int64), SIZE).shape == (0, *SIZE)


def test_a_negative_count():
    with pytest.raises(
        InputError, match=r"counts of the objects are \[21, -1\], but there are 20 rows; give counts of"
    ):
        voxelize(VERTICES, FACES, torch.tensor([21, -1]), SIZE)


@pytest.mark.parametrize("name", WITH_FACES)
def test_a_face_that_names_no_vertex(name):
    call = WITH_FACES[name]
    call(FACES)
    for wrong in (12, 2**40, -13):
        faces = FACES.clone()
        faces[7, 1] = wrong
        named = rf"^faces\[7\] is \[\d+, {wrong}, \d+\], but there are 12 vertices, counted from 0"
        with pytest.raises(InputError, match=named):
            call(faces)


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(IndexError, match="tensors used as indices"):
        face_areas(VERTICES, FACES.float())
