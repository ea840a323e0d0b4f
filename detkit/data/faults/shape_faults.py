"""Faults of shapes in space: files that are not there, poses and cameras that are wrong, objects behind the camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detkit.data.faults.box_faults import at_objects
from detkit.data.faults.problem import MOST_EXAMPLES, Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.formats.fields.field_reader import CocoFile, annotation_name
from detkit.data.formats.fields.mesh_readers import CameraReader, MeshReader, VoxelReader
from detkit.data.packed.columns import ImageFacts
from detkit.data.packed.shape_columns import read_kept_mesh
from detkit.data.spread import evenly_spread
from detkit.errors import InputError
from detkit.files import named_beside
from detkit.structures.meshes import have_inside

_MOST_OBJECTS = 100  # whose files are read: a mesh may take a second
_READERS: dict[str, MeshReader | VoxelReader] = {"model": MeshReader(), "voxel": VoxelReader()}


def shape_problems(split: WrittenSplit) -> list[Problem]:
    """The faults of the meshes, voxels and cameras of a split. Of most objects, files are not read."""
    rows = [row for row, one in enumerate(split.shapes) if one]
    wrong = {row: text for row in rows if (text := _fault(split, row, reads_files=False))}
    sound = [row for row in rows if row not in wrong and split.shapes[row].keys() & _READERS.keys()]
    read = [sound[number] for number in evenly_spread(len(sound), _MOST_OBJECTS)]
    broken = {row: text for row in read if (text := _fault(split, row, reads_files=True))}
    return [
        *_problem(split, wrong, "wrong_shapes", f"of {len(rows)}"),
        *_problem(split, broken, "wrong_shape_files", f"of {len(read)} whose files were read"),
        *_open(split, [row for row in read if row not in broken and "model" in split.shapes[row]]),
        *_without(split, "model", "mesh", "objects_without_mesh"),
        *_without(split, "voxel", "voxels", "objects_without_voxels"),
    ]


def _problem(split: WrittenSplit, faults: dict[int, str], name: str, among: str) -> list[Problem]:
    if not faults:
        return []
    return [
        Problem(
            name,
            "error",
            split.name,
            len(faults),
            f"{counted(len(faults), 'object', 'objects')} {among} cannot be placed in space",
            "correct them; a training with meshes, voxels or cameras stops at them",
            [f"{split.place(row)}: {text}" for row, text in list(faults.items())[:MOST_EXAMPLES]],
            [[row] for row in list(faults)[:MOST_EXAMPLES]],
        )
    ]


def _open(split: WrittenSplit, rows: list[int]) -> Iterator[Problem]:
    """The objects among `rows` whose mesh has no inside: a note where all of these have voxels."""
    paths = {row: named_beside(Path(split.source), split.shapes[row]["model"]) for row in rows}
    is_open = {path: not bool(have_inside(read_kept_mesh(path))) for path in sorted(set(paths.values()))}
    without = [row for row in rows if is_open[paths[row]]]
    if without:
        has_voxels = all("voxel" in split.shapes[row] for row in without)
        yield Problem(
            "open_meshes",
            "note" if has_voxels else "warning",
            split.name,
            len(without),
            f"the meshes of {len(without)} of {counted(len(rows), 'object')} whose files were read are not closed, or "
            "their faces are not all turned alike",
            ("" if has_voxels else "close them, or give their voxels, and ")
            + "set voxel_head.init_args.truth: voxels; a voxel head that learns from meshes stops at them",
            [f"{split.place(row)}: {paths[row]}" for row in without[:MOST_EXAMPLES]],
            [[row] for row in without[:MOST_EXAMPLES]],
        )


def _without(split: WrittenSplit, key: str, shape: str, name: str) -> Iterator[Problem]:
    """The objects beside crowds that have no file under a key, where others have one."""
    rows = np.array([row for row, one in enumerate(split.shapes) if key not in one], dtype=np.int64)
    rows = rows[~split.iscrowd[rows]]
    if len(rows) < (~split.iscrowd).sum():
        yield from at_objects(
            split,
            rows,
            name,
            "note",
            f"{counted(len(rows), 'object has', 'objects have')} no {shape}, though others have",
            f"they teach a model no shape; give their {key}, or leave them out",
        )


def _fault(split: WrittenSplit, row: int, reads_files: bool) -> str:
    """What is wrong with an object; empty where nothing is."""
    image_id = split.image_ids[split.image_rows[row]]
    entry = {"id": split.object_names[row], "image_id": image_id, **split.shapes[row]}
    source = Path(split.source)
    file = CocoFile(source, source.parent, (), annotations=[entry])
    facts = ImageFacts((0, 0), None, image_id, split.source)
    try:
        for key, reader in _READERS.items():
            if key in entry:
                column = reader.read([entry], file)
                if reads_files:
                    column.field(slice(0, 1), facts)
        if split.states_cameras and entry.keys() & {"K", "model"}:  # else images state cameras
            CameraReader().read([{"id": image_id}], file)
    except InputError as error:
        return str(error).removeprefix(f"{split.source}: ").replace(annotation_name(entry), "its entry")
    return ""
