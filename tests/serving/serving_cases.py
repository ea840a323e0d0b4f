"""Small models with classes, image files, and a client within the process."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from fastapi.testclient import TestClient
from narrow_models import MODELS
from tiny_backbone import TinyBackbone

from detkit.models import VisionModel
from detkit.serving import Limits, application
from detkit.structures import Category

EVIL = "<img src=x onerror='window.evil = 1'>"


def small_model(family: str = "faster") -> VisionModel:
    """A model of random weights whose classes have names that must be escaped."""
    torch.manual_seed(0)
    model = MODELS[family](TinyBackbone).eval()
    model.categories = [Category(10 + row, f"{EVIL} {row}") for row in range(model.num_classes)]
    return model


def client_of(model: VisionModel | None = None, **limits: int) -> TestClient:
    return TestClient(application(model or small_model(), Limits(**limits)))


def pixels(seed: int = 0, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Random pixels, RGB."""
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def encoded(seed: int = 0, size: tuple[int, int] = (60, 80), suffix: str = ".png") -> bytes:
    """An image file with them."""
    return cv2.imencode(suffix, pixels(seed, size)[..., ::-1])[1].tobytes()


def form(*contents: bytes, names: Sequence[str] | None = None) -> list[tuple[str, tuple[str, bytes]]]:
    """The files of a request, called ``0.png`` and so on."""
    names = names or [f"{row}.png" for row in range(len(contents))]
    return [("images", (name, content)) for name, content in zip(names, contents, strict=True)]
