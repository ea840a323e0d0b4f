"""Helpers of all checks: the error that names a broken rule, and how results are compared."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.structures import Meshes, PointClouds

T = TypeVar("T")

RTOL, ATOL = 1e-4, 1e-5  # between two runs of the same computation in batches of different sizes


class ContractError(AssertionError):
    """A class breaks a rule of its contract; the message is one sentence with the rule, what was got and what to do."""


def require(kept: bool, message: str) -> None:
    """Raise a `ContractError` with `message` unless the rule is `kept`."""
    if not kept:
        raise ContractError(message)


@contextmanager
def no_error(what: str, advice: str | None = None) -> Iterator[None]:
    """Turn any exception within into a `ContractError` that begins with `what` and ends with `advice`, if any.

    An `InputError` says itself what to do, so that no advice follows it.
    """
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        ending = "" if advice is None or isinstance(error, InputError) else f"; {advice}"
        raise ContractError(f"{what} raises {reason.rstrip('.')}{ending}") from error


def deep_copy(thing: T, owner: str) -> T:
    """A deep copy of `thing`, on which a check may do what it likes."""
    with no_error(f"copy.deepcopy of the {owner}", "keep only what can be copied as attributes (EMA copies models)"):
        return copy.deepcopy(thing)


def check_pickles(thing: T, owner: str, why: str) -> T:
    """`thing` after it was pickled and unpickled."""
    with no_error(f"pickle.dumps of the {owner}", f"keep no lambdas, open files or local classes in it ({why})"):
        restored: T = pickle.loads(pickle.dumps(thing))
    return restored


def check_tensors_are_registered(module: nn.Module, owner: str) -> None:
    """A tensor that is a plain attribute stays behind when the module moves to a GPU or into a checkpoint."""
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            require(
                not isinstance(value, Tensor),
                f"{owner}: the tensor {f'{path}.{name}' if path else name} is a plain attribute, which neither .to() "
                "nor a checkpoint takes along; register it with self.register_buffer",
            )


def is_close(one: Any, other: Any, rtol: float = RTOL, atol: float = ATOL) -> bool:
    """Whether two results are the same up to rounding: tensors, arrays, numbers, meshes, and what holds such."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return torch.allclose(one.double(), other.double(), rtol, atol, equal_nan=True)
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool(np.array_equal(one, other))
    if isinstance(one, float):
        return one == other or abs(one - other) <= atol + rtol * abs(other) or (one != one and other != other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(is_close(one[key], other[key], rtol, atol) for key in one)
    if isinstance(one, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(is_close(a, b, rtol, atol) for a, b in zip(one, other, strict=True))
    if isinstance(one, (Meshes, PointClouds)):
        return is_close(vars(one), vars(other), rtol, atol)
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        return all(is_close(getattr(one, name), getattr(other, name), rtol, atol) for name in names)
    return bool(one == other)
