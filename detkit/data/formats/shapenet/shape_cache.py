"""`ShapeCache`: meshes and voxels that were read, kept in memory, or as arrays on the disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from detkit.data.packed.shape_columns import read_kept_mesh, read_kept_points
from detkit.files import write_whole
from detkit.mesh_files import read_mesh
from detkit.structures import Meshes
from detkit.voxel_files import read_voxel_points

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ShapeCache:
    """Reads the files of models. A file that was changed is read again.

    Args:
        folder: where arrays of all files that were read are written, which takes a hundredth of the time to read; None:
            those that were read last are kept in the memory of each process, as far as it has room.
    """

    folder: Path | None = None

    def mesh(self, path: str, model: str) -> Meshes:
        """The mesh of a file; `model` names its arrays."""
        if self.folder is None:
            return Meshes.cat([read_kept_mesh(path)])  # faces of its own: the one that is kept is shared
        arrays = self._arrays(self.folder / model / "mesh.npz", path, _arrays_of_mesh)
        faces = torch.from_numpy(arrays["faces"]).long()
        return Meshes([torch.from_numpy(arrays["vertices"])], [faces])

    def points(self, path: str, model: str) -> Tensor:
        """The centers of the occupied cells of a file, which are not to be changed; `model` names their array."""
        if self.folder is None:
            return read_kept_points(path)
        arrays = self._arrays(self.folder / model / "voxels.npz", path, _arrays_of_voxels)
        return torch.from_numpy(arrays["points"])

    def _arrays(self, kept: Path, path: str, read: Callable[[str], Arrays]) -> Arrays:
        """The arrays of the file at `path`: those in the file `kept`, where it is of this version of the file."""
        stamp = _stamp(path)
        try:
            with np.load(kept) as file:
                if file["stamp"].tolist() == stamp:
                    return {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, BadZipFile):  # not there, or not whole
            pass
        arrays = read(path)
        content = io.BytesIO()
        np.savez(content, stamp=np.array(stamp), **arrays)  # type: ignore[arg-type]  # names are no options of it
        write_whole(kept, content.getvalue())
        return arrays


def _stamp(path: str) -> list[int]:
    """What tells a file from another version of it; zeros where it is not there, which its reader then says."""
    try:
        stated = os.stat(path)
    except OSError:
        return [0, 0]
    return [stated.st_mtime_ns, stated.st_size]


def _arrays_of_mesh(path: str) -> Arrays:
    mesh = read_mesh(path)
    return {"vertices": mesh.vertices.numpy(), "faces": mesh.faces.int().numpy()}


def _arrays_of_voxels(path: str) -> Arrays:
    return {"points": read_voxel_points(path).numpy()}
