"""A disk cache of proposals."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.files import open_whole
from detkit.proposals.proposals import Proposals


class CachedProposals(Proposals):
    """Caches other proposals on disk, by the content of the image.

    Several processes may share a folder: files are written atomically. A file that cannot be read is computed again,
    with a warning.

    Args:
        proposals: computes the proposals that are not in the cache.
        folder: for the files, about 32 kB for 2,000 boxes; it is created if needed.
    """

    def __init__(self, proposals: Proposals, folder: str | Path) -> None:
        self.proposals = proposals
        self.folder = Path(folder)

    @property  # which users may also write as a plain attribute
    def identity(self) -> str:  # type: ignore[override]
        """The identity of the cached proposals."""
        return self.proposals.identity

    def __call__(self, image: Tensor) -> Tensor:
        """The proposals ``(P, 4)`` of `image` ``(3, H, W)``, from disk if they are there."""
        path = self.folder / f"{self._key(image)}.npy"
        boxes = _read(path) if path.exists() else None
        if boxes is None:
            boxes = self.proposals(image).numpy()
            _write(path, boxes)
        return torch.from_numpy(boxes)

    def _key(self, image: Tensor) -> str:
        pixels = np.ascontiguousarray(image.cpu().numpy())
        digest = hashlib.sha256(f"{self.identity} {pixels.shape} {pixels.dtype}".encode())
        digest.update(pixels.data)
        return digest.hexdigest()


def _read(path: Path) -> np.ndarray | None:
    try:
        boxes: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        warnings.warn(f"{path} cannot be read ({error}); its proposals are computed again", stacklevel=3)
        return None
    if boxes.dtype != np.float32 or boxes.ndim != 2 or boxes.shape[1] != 4:
        warnings.warn(f"{path} holds no boxes; its proposals are computed again", stacklevel=3)
        return None
    return boxes


def _write(path: Path, boxes: np.ndarray) -> None:
    with open_whole(path) as file:
        np.save(file, boxes)
