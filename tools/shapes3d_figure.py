"""Draw images of `Shapes3D` with their ground truth, and below them their meshes from another side."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.data import Shapes3D
from detkit.engine.cli import run
from detkit.rendering import Material, render
from detkit.structures import Meshes, Target
from detkit.visualization import class_color, draw_detections, write_image
from detkit.visualization.drawing_by_type import Drawing

TURN = math.radians(70)
ZOOM = 2  # of each pixel, so that labels can be read


def draw(argv: Sequence[str]) -> None:
    """Write one image with a column for each of the first images of the training split."""
    parser = argparse.ArgumentParser(description="Draw images of Shapes3D with their ground truth and their meshes.")
    parser.add_argument("--root", type=Path, help="a folder of mesh files; default: detkit's solids")
    parser.add_argument("--count", type=int, default=5, help="the number of images")
    parser.add_argument("--seed", type=int, default=0, help="of the data set")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "images" / "shapes3d.jpg")
    options = parser.parse_args(argv)
    dataset = Shapes3D("train", options.root, counts={"train": options.count}, image_size=(128, 128), seed=options.seed)
    dataset = dataset.reading({"masks", "meshes", "camera"})
    columns = [_column(*dataset.read(index), dataset) for index in range(options.count)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_image(options.out, np.concatenate(columns, axis=1))
    print(f"wrote {options.out}")


def _column(image: np.ndarray, target: Target, dataset: Shapes3D) -> np.ndarray:
    assert target.meshes is not None
    assert target.camera is not None
    assert target.labels is not None
    height, width = image.shape[:2]
    size = height * ZOOM, width * ZOOM
    enlarged = image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    truth = draw_detections(enlarged, Drawing().resized(target, (height, width), size), dataset.categories)
    camera = target.camera * torch.tensor([[ZOOM], [ZOOM], [1.0]])
    materials = [_material(label) for label in target.labels.tolist()]
    turned = render(_turned(target.meshes, camera, size[0]), camera, size, materials).image
    return np.concatenate([enlarged, truth, turned.permute(1, 2, 0).numpy()])


def _material(label: int) -> Material:
    red, green, blue = (value / 255 for value in class_color(label))
    return Material((red, green, blue), specular=0.2)


def _turned(meshes: Meshes, camera: Tensor, side: float) -> Meshes:
    """All objects turned together about the vertical through their middle, which is moved to fill the image."""
    low, high = meshes.vertices.amin(dim=0), meshes.vertices.amax(dim=0)
    middle, radius = (low + high) / 2, float((high - low).norm() / 2)
    sine, cosine = math.sin(TURN), math.cos(TURN)
    turn = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    away = torch.linalg.inv(camera) @ torch.tensor([side / 2, side / 2, 1.0])
    distance = radius * math.sqrt(1 + (2 * float(camera[0, 0]) / side) ** 2)
    return meshes.with_vertices((meshes.vertices - middle) @ turn.T + away * distance)


if __name__ == "__main__":
    sys.exit(run(draw))
