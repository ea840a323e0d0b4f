"""``torch.autocast("cuda")`` on imitated tensors: the dtypes that torch gives each operation on a CUDA device.

The operations are those of torch's own header, ATen/autocast_mode.h, which its wheel contains.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from detkit.testing.imitation.imitated_tensor import ImitatedTensor

AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)
_HALF = (torch.float16, torch.bfloat16)
_FLOATING = (*_HALF, torch.float32)  # float64 stays
_Dtype = Callable[[Sequence[Tensor], dict[str, Any]], torch.dtype | None]


@contextmanager
def imitated_autocast() -> Iterator[None]:
    """Make ``torch.autocast("cuda")`` do without a GPU what it does with one."""
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]  # of torch
    with ExitStack() as stack:
        stack.callback(library._destroy)
        stack.enter_context(patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False))
        stack.enter_context(patch.object(torch.cuda, "is_bf16_supported", lambda *args: True))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # which torch's own kernels make way
        for operation, dtype in _operations():
            kernel = functools.partial(_cast_and_call, operation, dtype)
            library.impl(operation, kernel, "AutocastCUDA")  # type: ignore[no-untyped-call]  # of torch
        yield


def _cast_and_call(operation: Any, dtype_of: _Dtype, *args: Any, **kwargs: Any) -> Any:
    """Call `operation` with its floating-point tensors of the device in the dtype of its category."""
    values, structure = tree_flatten((args, kwargs))
    with torch._C._ExcludeDispatchKeyGuard(AUTOCAST):
        eligible = [value for value in values if isinstance(value, ImitatedTensor) and value.dtype in _FLOATING]
        dtype = dtype_of(eligible, kwargs)
        if dtype is not None:
            chosen = {id(value) for value in eligible}
            values = [value.to(dtype) if id(value) in chosen else value for value in values]
        args, kwargs = tree_unflatten(values, structure)
        return operation(*args, **kwargs)


def _lower(tensors: Sequence[Tensor], options: dict[str, Any]) -> torch.dtype | None:
    return torch.get_autocast_dtype("cuda")


def _float32(tensors: Sequence[Tensor], options: dict[str, Any]) -> torch.dtype | None:
    return torch.float32 if options.get("dtype") is None else None


def _widest(tensors: Sequence[Tensor], options: dict[str, Any]) -> torch.dtype | None:
    dtypes = {tensor.dtype for tensor in tensors}
    return torch.float32 if torch.float32 in dtypes else None if len(dtypes) == 1 else torch.get_autocast_dtype("cuda")


def _refused(tensors: Sequence[Tensor], options: dict[str, Any]) -> torch.dtype | None:
    raise RuntimeError(
        "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast. "
        "Many models use a sigmoid layer right before the binary cross entropy layer. "
        "In this case, combine the two layers using binary_cross_entropy_with_logits."
    )


_CATEGORIES: dict[str, _Dtype] = {
    "LOWER_PRECISION_FP": _lower,
    "FP32": _float32,
    "FP32_SET_OPT_DTYPE": _float32,
    "PROMOTE": _widest,
}


@functools.cache
def _operations() -> list[tuple[Any, _Dtype]]:
    """The operations that autocast changes on a CUDA device, each with its category."""
    header = (Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h").read_text()
    found: list[tuple[Any, _Dtype]] = [
        (torch.ops.aten.norm.Scalar, _float32),
        (torch.ops.aten.norm.ScalarOpt_dim, _float32),
        (torch.ops.aten.binary_cross_entropy.default, _refused),
    ]
    for category, dtype in _CATEGORIES.items():
        listed = re.search(rf"#define AT_FORALL_{category}\(_\)((?:.*\\\n)*.*)", header)
        assert listed is not None, f"ATen/autocast_mode.h lists no {category}"
        for entry in re.findall(r"_\(([^)]+)\)", listed[1]):
            name, _, overload = entry.replace(" ", "").partition(",")
            found.append((getattr(getattr(torch.ops.aten, name), overload or "default"), dtype))
    return found
