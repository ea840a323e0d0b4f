"""Reading the files of detectron2's model zoo without running code from them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detkit.backbones.pretrained import read_state_dict
from detkit.errors import InputError, first_line

_ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}
# What numpy's own pickles call to make arrays and single numbers.
_MAKERS = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.float32(0).__reduce__()[0]}
for _room in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ARRAYS |= {(_room, name): make for name, make in _MAKERS.items()}


class _RefusedError(Exception):
    """A pickle names something that makes no array."""


class _ArrayUnpickler(pickle.Unpickler):
    """Makes dictionaries, lists, text, numbers and arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise _RefusedError(f"{module}.{name}")
        return _ARRAYS[module, name]


def read_detectron2(path: str | Path) -> Mapping[str, Any]:
    """The arrays or tensors in a file of detectron2, by its names.

    Args:
        path: a ``.pkl`` of the model zoo, which holds numpy arrays, or a ``.pth`` of a training.

    Raises:
        InputError: the file is missing, damaged, no such file, or holds more than arrays, names and numbers.
    """
    path = Path(path)
    if path.suffix != ".pkl":
        return read_state_dict(path)
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except _RefusedError as error:
        raise InputError(
            f"{path} is refused: it holds more than arrays, names and numbers, and could run code: it names {error}"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle ends with errors of any type
        raise InputError(f"{path} cannot be read, it is damaged or no pickle: {first_line(error)}") from error
    content = content.get("model", content) if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__} and no arrays by their names")
    return content
