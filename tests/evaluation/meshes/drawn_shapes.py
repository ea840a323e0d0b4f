"""Random meshes, and images of objects with detections that are good or bad by far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from detkit.structures import Detections, Target
from detkit.structures.meshes import Meshes, icosphere

CLASSES = 4  # of which the last has no objects
SIZE = 64
SPHERE = icosphere(2)


def blob(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A long, dented sphere around 0, whose area few points cover: vertices float64, and faces."""
    vertices = SPHERE.vertices.double().numpy()
    waves = 1 + 0.2 * np.sin(vertices @ random.normal(0, 2, (3, 3))).sum(axis=1, keepdims=True) / 3
    return vertices * waves * random.permutation([0.8, *random.uniform(0.1, 0.2, 2)]), SPHERE.faces.numpy()


def meshes_of(pairs) -> Meshes:
    """Of ``(vertices, faces)`` each, None for one without faces."""
    pairs = [(np.zeros((0, 3)), np.zeros((0, 3), np.int64)) if pair is None else pair for pair in pairs]
    return Meshes(
        [torch.from_numpy(vertices).float() for vertices, _ in pairs],
        [torch.from_numpy(faces).long() for _, faces in pairs],
    )


@dataclass
class Scenes:
    """Images as of `protocol_port.evaluated`, with the annotations that name them."""

    images: list[dict]

    @property
    def annotations(self) -> dict:
        return {
            "images": [
                {"id": number, "file_name": f"img/{number}.png", "height": SIZE, "width": SIZE}
                for number in range(len(self.images))
            ],
            "annotations": [],
            "categories": [{"id": 3 * k + 1, "name": f"class {k}"} for k in range(CLASSES)],
        }

    def targets(self) -> list[Target]:
        return [
            Target(**_fields(image["true"]), meshes=meshes_of([one["mesh"] for one in image["true"]]), image_id=number)
            for number, image in enumerate(self.images)
        ]

    def answers(self) -> list[Detections]:
        return [
            Detections(
                **_fields(image["predicted"]),
                scores=torch.tensor([one["score"] for one in image["predicted"]], dtype=torch.float32),
                meshes=meshes_of([one["mesh"] for one in image["predicted"]]),
            )
            for image in self.images
        ]


def draw_scenes(seed: int, images: int = 5, most_objects: int = 3) -> Scenes:
    """Images with up to so many objects; predictions are shifted in the image, of a wrong class, poor, without faces,
    or far from any object."""
    random = np.random.default_rng(seed)
    scenes, scores = [], iter(random.permutation(997) / 1000 + 0.001)
    for number in range(images):
        true = [_object(random) for _ in range(most_objects if number == 0 else random.integers(0, most_objects + 1))]
        predicted = [_prediction(random, one, next(scores)) for one in true for _ in range(random.integers(0, 4))]
        predicted += [_prediction(random, _object(random), next(scores)) for _ in range(random.integers(0, 2))]
        if number == 0:
            predicted += [_prediction(random, true[0], next(scores), good=True)]
        scenes.append({"true": true, "predicted": sorted(predicted, key=lambda one: -one["score"])})
    return Scenes(scenes)


def _fields(objects: list[dict]) -> dict:
    return {
        "boxes": torch.tensor(np.array([one["box"] for one in objects]).reshape(-1, 4), dtype=torch.float32),
        "labels": torch.tensor([one["label"] for one in objects], dtype=torch.int64),
        "masks": torch.tensor(np.array([one["mask"] for one in objects]).reshape(-1, SIZE, SIZE), dtype=torch.bool),
    }


def _object(random: np.random.Generator) -> dict:
    low = random.integers(0, 40, 2)
    box = np.concatenate([low, low + random.integers(12, 24, 2)]).astype(np.float64)
    vertices, faces = blob(random)
    center = np.array([*random.normal(0, 0.5, 2), random.uniform(2, 6)])
    label = int(random.integers(0, CLASSES - 1))
    return {"box": box, "label": label, "mask": _mask(box), "mesh": (vertices + center, faces)}


def _prediction(random: np.random.Generator, true: dict, score: float, good: bool = False) -> dict:
    """A prediction of an object: its mesh has an F1 far from 0.5."""
    box, shift = (true["box"] + random.integers(-4, 5, 4) * (not good) for _ in "ab")
    vertices, faces = true["mesh"]
    depth = (vertices[:, 2].min() + vertices[:, 2].max()) / 2
    extent = np.ptp(vertices, axis=0).max()
    offset = np.array([1, 1, 1]) / 3**0.5 * extent * (0.005 if good or random.random() < 0.6 else 0.3)
    label = true["label"] if good or random.random() < 0.75 else int(random.integers(0, CLASSES))
    empty = not good and random.random() < 0.15
    mesh = None if empty else ((vertices + offset) / depth, faces)
    return {"box": box, "label": label, "mask": _mask(shift), "mesh": mesh, "score": float(np.float32(score))}


def _mask(box: np.ndarray) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    x1, y1, x2, y2 = box.clip(0, SIZE).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask
