"""A small folder laid out as ShapeNet with the renderings of 3D-R2N2, and a port of the authors' transforms in numpy.

Written from what Mesh R-CNN's shapenet/utils/coords.py and tools/preprocess_shapenet.py do: models are turned by 90
degrees about x, as Blender does when it reads OBJ files, then by azimuth and elevation; the camera lies at 1.75 times
the stated distance, looks along its negative z axis, and projects with 2.1875 into [-1, 1].
"""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

SIZE = 137
CORNERS = np.array([[x, y, z] for x in (-0.1, 0.3) for y in (-0.25, 0.2) for z in (-0.15, 0.05)])
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 5, 1], [0, 4, 5], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 7, 3], [1, 5, 7]]
)  # fmt: skip
"""A box that is not centered; its faces are counterclockwise seen from outside."""

MODELS = {"02691156": ["a1", "b2"], "03001627": ["c3"], "99999999": ["d4"]}


def authors_space(points, view):
    """Points of a model in Blender's camera frame: x right, y up, z toward the camera."""
    azimuth, elevation, _, share, _ = view
    blender = Rotation.from_euler("x", 90, degrees=True).apply(points)
    turned = Rotation.from_euler("y", elevation, degrees=True).apply(
        Rotation.from_euler("z", azimuth, degrees=True).apply(blender)
    )
    return turned[:, [1, 2, 0]] - [0, 0, 1.75 * share]


def authors_pixels(points, size=SIZE):
    """The pixels that points in Blender's camera frame are seen at."""
    seen = 2.1875 * points[:, :2] / -points[:, 2:]
    return np.stack([(seen[:, 0] + 1) / 2 * size, (1 - seen[:, 1]) / 2 * size], axis=1)


def authors_voxels(grid, vertices):
    """Cells (x, y, z) in the coordinates of the model: their extent is stretched to that of its vertices."""
    cells = np.argwhere(grid).astype(np.float64)
    scale = (vertices.max(axis=0) - vertices.min(axis=0)) / (cells.max(axis=0) - cells.min(axis=0))
    return scale * cells + (vertices.min(axis=0) - scale * cells.min(axis=0))


def binvox_bytes(grid):
    """A binvox file: y runs fastest, then z, then x; each run is a value and a count up to 255."""
    runs = bytearray()
    for value in grid.transpose(0, 2, 1).ravel().tolist():
        if runs and runs[-2] == value and runs[-1] < 255:
            runs[-1] += 1
        else:
            runs += bytes((value, 1))
    return b"#binvox 1\ndim %d %d %d\ntranslate 3 -2 1\nscale 7.5\ndata\n" % grid.shape + bytes(runs)


def grid_of(seed):
    return np.random.default_rng(seed).random((9, 9, 9)) < 0.2


def views_of(seed, count=4):
    random = np.random.default_rng(seed)
    return [[random.uniform(0, 360), random.uniform(-10, 40), 0.0, random.uniform(0.65, 1), 25.0] for _ in range(count)]


def write_shapenet(root: Path, seed=0, splits=None, size=SIZE):
    """All models of `MODELS`, with four views each. Returns the views of each model."""
    views = {}
    for synset, models in MODELS.items():
        for number, model in enumerate(models):
            name = f"{synset}/{model}"
            views[name] = views_of(seed + number)
            folder = root / "ShapeNetRendering" / name / "rendering"
            folder.mkdir(parents=True)
            text = "\n".join(" ".join(map(repr, view)) for view in views[name])
            (folder / "rendering_metadata.txt").write_text(text + "\n")
            for number, view in enumerate(views[name]):
                Image.fromarray(_rendering(view, size)).save(folder / f"{number:02d}.png")
            mesh = root / "ShapeNetCore.v1" / name / "model.obj"
            mesh.parent.mkdir(parents=True)
            lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in CORNERS.tolist()]
            lines += [f"f {a}//1 {b}//1 {c}//1" for a, b, c in (FACES + 1).tolist()]
            mesh.write_text("mtllib model.mtl\n" + "\n".join(lines))
            voxels = root / "ShapeNetCore.v1.binvox" / name / "model.presolid.binvox"
            voxels.parent.mkdir(parents=True)
            voxels.write_bytes(binvox_bytes(grid_of(seed).astype(int)))
    train = {"02691156": {"a1": [0, 1, 3], "b2": [2]}, "03001627": {"c3": [1]}}
    splits = splits or {"train": train, "val": {"03001627": {"c3": [0, 2]}}, "test": {"99999999": {"d4": [3]}}}
    (root / "pix2mesh_splits_val05.json").write_text(json.dumps(splits))
    return views


def _rendering(view, size):
    """RGBA, the object gray and the rest transparent black."""
    mask = np.zeros((size, size), np.uint8)
    outline = authors_pixels(authors_space(CORNERS, view), size)
    hull = cv2.convexHull(np.round((outline - 0.5) * 256).astype(np.int32))  # the silhouette of a convex solid
    cv2.fillConvexPoly(mask, hull, 255, shift=8)
    return np.dstack([mask // 2] * 3 + [mask])
