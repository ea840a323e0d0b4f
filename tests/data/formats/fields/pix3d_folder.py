"""A small folder laid out as Pix3D with the splits of Mesh R-CNN, and a port of the authors' transforms in numpy.

Written from the authors' words: rotation and translation, then ``x = f X / Z``, ``u = px - x`` and ``v = py - y``
(facebookresearch/meshrcnn, issue 8); and voxels turned by rot90 three times in their last two axes, centered by their
extent, scaled to a farthest point at 0.5 (meshrcnn/utils/shape.py).
"""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation

CORNERS = np.array([[x, y, z] for x in (-0.4, 0.4) for y in (-0.2, 0.2) for z in (-0.3, 0.1)])
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 5, 1], [0, 4, 5], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 7, 3], [1, 5, 7]]
)  # fmt: skip
"""A box that is not centered; its faces are counterclockwise seen from outside."""

SIZES = [(60, 90), (80, 50), (64, 64)]


def authors_space(points, entry):
    """Points of a file in Mesh R-CNN's camera frame, float64."""
    return (np.array(entry["rot_mat"]) @ points.T + np.array(entry["trans_mat"])[:, None]).T


def authors_pixels(points, entry):
    """The pixels that points in Mesh R-CNN's camera frame are seen at."""
    focal, x, y = entry["K"]
    return np.stack([x - focal * points[:, 0] / points[:, 2], y - focal * points[:, 1] / points[:, 2]], axis=1)


def authors_voxels(grid):
    """The centers of the occupied cells in the coordinates of the model."""
    points = np.argwhere(np.rot90(grid, k=3, axes=(1, 2)) > 0).astype(np.float64)
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    return points / (2 * np.sqrt((points**2).sum(axis=1).max()))


def write_obj(path: Path, vertices=CORNERS, faces=FACES) -> None:
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, *(f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist())]))


def grid_of(seed):
    return (np.random.default_rng(seed).random((6, 5, 4)) < 0.3).astype(np.uint8)


def write_pix3d(root: Path, seed=0, name="pix3d_s1_train.json", sizes=SIZES, changes=None, model="box") -> Path:
    """Images with one object each; `changes` are keys of annotations to replace, or to remove with None.

    Returns:
        The annotation file.
    """
    random = np.random.default_rng(seed)
    write_obj(root / f"model/chair/{model}.obj")
    savemat(root / f"model/chair/{model}.mat", {"voxel": grid_of(seed)})
    images, annotations = [], []
    for number, (height, width) in enumerate(sizes, start=1):
        entry = {
            "id": number, "image_id": number, "category_id": 3, "iscrowd": 0,
            "segmentation": f"mask/chair/{number}.png",
            "model": f"model/chair/{model}.obj", "voxel": f"model/chair/{model}.mat",
            "rot_mat": Rotation.random(random_state=random.integers(2**31)).as_matrix().tolist(),
            "trans_mat": [*random.uniform(-0.15, 0.15, 2).tolist(), float(random.uniform(1.8, 2.5))],
            "K": [float(random.uniform(0.9, 1.2) * min(height, width)), width / 2, height / 2],
        }  # fmt: skip
        outline = authors_pixels(authors_space(CORNERS, entry), entry)
        mask = np.zeros((height, width), np.uint8)
        hull = cv2.convexHull(np.round((outline - 0.5) * 256).astype(np.int32))  # the silhouette of a convex solid
        cv2.fillConvexPoly(mask, hull, 255, shift=8)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
        entry |= {"bbox": [float(side) for side in box], "area": float((mask > 0).sum())} | (changes or {})
        annotations.append({key: value for key, value in entry.items() if value is not None})
        for folder, pixels in {"mask": mask, "img": np.repeat(mask[..., None] // 2 + 40, 3, axis=2)}.items():
            path = root / f"{folder}/chair/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        images.append({"id": number, "file_name": f"img/chair/{number}.png", "height": height, "width": width})
    categories = [{"id": 3, "name": "chair"}, {"id": 7, "name": "table"}]
    path = root / name
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
