"""The nodes of a glTF scene that have meshes, and where they put them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.errors import InputError
from detkit.mesh_files.gltf.gltf_entries import Entry
from detkit.mesh_files.mesh_parts import Floats, Integers

_NO_ROTATION = [0.0, 0.0, 0.0, 1.0]


@dataclass(frozen=True)
class PlacedMesh:
    """A node with a mesh.

    Args:
        node: its name in the document, ``nodes[3]``.
        mesh: the number of its mesh.
        transform: ``(4, 4)`` float64, from the mesh to the scene.
    """

    node: str
    mesh: int
    transform: Floats

    def moved(self, vertices: Floats, faces: Integers) -> tuple[Floats, Integers]:
        """Vertices in the scene, and faces, whose order turns where the transform mirrors."""
        with np.errstate(over="ignore", invalid="ignore"):
            points = vertices @ self.transform[:3, :3].T + self.transform[:3, 3]
            is_mirrored = np.linalg.det(self.transform[:3, :3]) < 0
        return points, faces[:, ::-1] if is_mirrored else faces


def placed_meshes(document: Entry) -> list[PlacedMesh]:
    """The meshes of the default scene, else of the first, else of all nodes: each node before its children.

    Raises:
        InputError: nodes are not trees, or a transform is none.
    """
    nodes = document.members("nodes")
    waiting = [(index, np.eye(4)) for index in reversed(_roots(document, nodes))]
    seen: set[int] = set()
    placed = []
    while waiting:
        index, parent = waiting.pop()
        node = document.member("nodes", index) if index >= len(nodes) else nodes[index]
        if index in seen:
            raise InputError(f"{node.path}: {node.name} has two parents, or is its own; export the file again")
        seen.add(index)
        with np.errstate(over="ignore", invalid="ignore"):
            transform = parent @ _transform(node)
        if "mesh" in node.values:
            placed.append(PlacedMesh(node.name, node.whole("mesh"), transform))
        waiting += [(child, transform) for child in reversed(node.wholes("children"))]
    return placed


def _roots(document: Entry, nodes: list[Entry]) -> list[int]:
    if "scenes" in document.values:
        return document.member("scenes", document.whole("scene", 0)).wholes("nodes")
    children = {child for node in nodes for child in node.wholes("children")}
    return [index for index in range(len(nodes)) if index not in children]


def _transform(node: Entry) -> Floats:
    """``(4, 4)``, from a node to its parent."""
    if "matrix" in node.values:
        matrix = np.array(node.numbers("matrix", [0.0] * 16), dtype=np.float64).reshape(4, 4).T
        if matrix[3].tolist() != [0, 0, 0, 1]:
            raise node.wrong("matrix", "an affine one, whose numbers 4, 8, 12 and 16 are 0, 0, 0 and 1")
        return matrix
    transform = np.eye(4)
    transform[:3, :3] = _rotation(node) * np.array(node.numbers("scale", [1.0] * 3), dtype=np.float64)
    transform[:3, 3] = node.numbers("translation", [0.0] * 3)
    return transform


def _rotation(node: Entry) -> Floats:
    """``(3, 3)`` of the quaternion x y z w, which files round, so it is brought to length 1."""
    quaternion = np.array(node.numbers("rotation", _NO_ROTATION), dtype=np.float64)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(quaternion)
    if not 0 < length < np.inf:
        raise node.wrong("rotation", "a quaternion of length 1")
    x, y, z, w = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
