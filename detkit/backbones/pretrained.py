"""Loading weight files into a module, with a report of what was loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from detkit.backbones.finite_weights import warn_unless_finite
from detkit.backbones.published import PublishedFile, fetched
from detkit.deprecation import moved_names
from detkit.errors import InputError, first_line
from detkit.files.torch_files import read_torch

Made = TypeVar("Made")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """The result of loading a weight file, for every tensor of the file and of the module.

    Args:
        source: of the weights.
        matched: loaded names.
        missing: names in the module that the file lacks; they keep their initial values.
        unexpected: names in the file that the module lacks, such as those of a classifier.
        mismatched: names in both, with the shape in the file and in the module; not loaded.
    """

    source: str
    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]

    def __str__(self) -> str:
        lines = [f"{self.source}: loaded {len(self.matched)} of {len(self.matched) + self._not_loaded()} tensors"]
        lines += _listed("not in the file, left as initialized", self.missing)
        lines += _listed("in the file, not used", self.unexpected)
        shapes = [f"{name} (file {in_file}, model {in_model})" for name, in_file, in_model in self.mismatched]
        lines += _listed("of another shape, left as initialized", shapes)
        return "\n".join(lines)

    def _not_loaded(self) -> int:
        return len(self.missing) + len(self.mismatched)


def _listed(title: str, names: list[str]) -> list[str]:
    return [f"  {len(names)} {title}: {', '.join(names)}"] if names else []


def download(name: str, create: Callable[[], Made], file: PublishedFile | None = None) -> Made:
    """The result of `create`, which downloads the published weights of the network `name`.

    Args:
        name: of the network, for messages.
        create: downloads and returns.
        file: what it downloads, whose host must answer within seconds; None if that is not known.

    Raises:
        InputError: there are none, or they cannot be downloaded.
    """
    try:
        return create() if file is None else fetched(file, create)
    except Exception as error:  # each library that downloads has errors of its own
        advice = "give the path of a weights file, or none" if file is None else file.advice()
        raise InputError(f"the published weights of {name} cannot be had ({error}): {advice}") from error


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file, read without executing code from it.

    A file that wraps its tensors under ``state_dict`` or ``model`` is unwrapped.

    Raises:
        InputError: the file is missing, truncated, not a state dict, or would execute code.
    """
    path = Path(path)
    content = (
        _read_safetensors(path)
        if path.suffix == ".safetensors"
        else read_torch(path, "weights file", "save a state dict")
    )
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"weights file {path} does not hold a state dict (names to tensors)")
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"weights file {path} does not exist")
    try:
        return load_file(path)
    except Exception as error:  # the library has no common type of its errors
        raise InputError(
            f"weights file {path} cannot be read, it is truncated, damaged or no weights file: {first_line(error)}"
        ) from error


def load_matching(module: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> LoadReport:
    """Load the tensors of `state_dict` that fit into `module`; log and return the report.

    The log is a warning if a tensor of the module was not loaded. The ``num_batches_tracked`` counters of batch norm,
    which older files lack, are not reported.

    Raises:
        InputError: nothing fits.
    """
    own = module.state_dict()
    in_both = own.keys() & state_dict.keys()
    matched = [name for name in own if name in in_both and own[name].shape == state_dict[name].shape]
    report = LoadReport(
        source=source,
        matched=matched,
        missing=[name for name in own if name not in in_both and not name.endswith("num_batches_tracked")],
        unexpected=[name for name in state_dict if name not in in_both],
        mismatched=[
            (name, tuple(state_dict[name].shape), tuple(own[name].shape))
            for name in own
            if name in in_both and own[name].shape != state_dict[name].shape
        ],
    )
    if not matched:
        raise InputError(
            f"{source}: none of its {len(state_dict)} tensors fits; it begins with {next(iter(state_dict), None)!r}, "
            f"the model with {next(iter(own), None)!r}"
        )
    warn_unless_finite({name: state_dict[name] for name in matched}, source)
    # The module's own dictionary is updated: it has the version of the layout, which MNASNet reads.
    own.update({name: state_dict[name] for name in matched})
    module.load_state_dict(own)
    logger.log(logging.WARNING if report.missing or report.mismatched else logging.INFO, "%s", report)
    return report


__getattr__ = moved_names(__name__, {"downloaded": "detkit.backbones.pretrained.download"})
