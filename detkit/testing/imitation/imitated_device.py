"""`imitated_device`: within it, "cuda" is a device that is imitated on the CPU."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from detkit.ops import library
from detkit.testing.imitation.dispatching import dispatch
from detkit.testing.imitation.imitated_autocast import imitated_autocast
from detkit.testing.imitation.imitated_runtime import imitated_runtime
from detkit.testing.imitation.imitated_tensor import IMITATED, ImitatedTensor
from detkit.testing.imitation.waits import Wait, recorders

_MADE_OF_OTHERS = torch._C.DispatchKey.CompositeImplicitAutograd
_AUTOCAST = torch._C.DispatchKey.AutocastCUDA


class ImitatedDevice:
    """The device within `imitated_device`.

    Attributes:
        device: its name, for ``.to(…)``.
        waits: for it so far, in order.
    """

    device = IMITATED

    def __init__(self) -> None:
        self.waits: list[Wait] = []

    def counted(self) -> Counter[Wait]:
        """How often each wait occurred, by kind and location, for the message of a test."""
        return Counter(self.waits)


@contextmanager
def imitated_device() -> Iterator[ImitatedDevice]:
    """Imitate a CUDA device on the CPU: tensors on "cuda" are refused what a GPU refuses, and waits are counted.

    Within it ``.to("cuda")``, ``torch.zeros(…, device="cuda")`` and so on give tensors that say to be on ``cuda:0`` and
    hold their values on the CPU. Kernels, autograd and optimizers compute with these values, so that results are those
    of the CPU. Refused are, with the errors of a GPU: operations on tensors of two devices, a CPU tensor indexed by one
    of the device, a generator of another device, ``.numpy()``.
    """
    device = ImitatedDevice()
    with ExitStack() as stack:
        stack.enter_context(patch.object(library, "NATIVE_DEVICES", library.NATIVE_DEVICES | {"cuda"}))
        stack.enter_context(imitated_runtime())
        stack.enter_context(imitated_autocast())
        functions = stack.enter_context(_Functions())
        stack.enter_context(_Operations(functions))
        recorders.append(device.waits)
        try:
            yield device
        finally:
            recorders.remove(device.waits)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Operations of torch's dispatcher, those without tensors among their arguments too."""

    def __init__(self, functions: _Functions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.functions = functions

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # In inference mode, and on its tensors, an operation made of others comes whole; else autograd has split it.
        if _is_made_of_others(function):
            # Within the dispatcher autocast is excluded; the last call from Python says whether it is on.
            with self, torch._C._SetExcludeDispatchKeyGuard(_AUTOCAST, not self.functions.is_autocast):
                return function._op_dk(_MADE_OF_OTHERS, *args, **(kwargs or {}))
        return dispatch(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Calls from Python that name the device: torch's C++ gets "meta" instead, and so needs no GPU."""

    is_autocast = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.is_autocast = torch.is_autocast_enabled("cuda")
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor):
            return self._from_data(function, args, kwargs)
        if function is torch.Tensor.new_tensor:
            return self._new_tensor(*args, **kwargs)
        if function is torch.Tensor.cuda:
            return args[0].to("meta", non_blocking=kwargs.get("non_blocking", False))
        if function is torch.Tensor.to:
            args = (args[0], *map(_as_meta, args[1:]))
        if _is_cuda(kwargs.get("device")):
            kwargs = kwargs | {"device": "meta"}
        return function(*args, **kwargs)

    def _from_data(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The tensor, made on the CPU and copied, since a tensor on the meta device would not keep its values."""
        if isinstance(args[0], ImitatedTensor) and kwargs.get("device") is None:
            return function(*args, **kwargs)
        if not _is_cuda(kwargs.get("device")):
            return function(*args, **kwargs)
        grad = kwargs.pop("requires_grad", False)
        data = args[0]
        if isinstance(data, ImitatedTensor):
            made = data.to(kwargs.get("dtype") or data.dtype)
        else:
            made = function(*args, **(kwargs | {"device": "cpu"})).to("meta")
        return made.requires_grad_(grad) if grad else made

    def _new_tensor(self, tensor: Any, data: Any, **options: Any) -> Any:
        options.setdefault("dtype", tensor.dtype)
        options.setdefault("device", tensor.device)
        with self:
            return torch.tensor(data, **options)


@functools.cache
def _is_made_of_others(function: Any) -> bool:
    """Whether torch's C++ has no kernel of the operation for a device, but makes it of other operations."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), _MADE_OF_OTHERS)


def _is_cuda(device: Any) -> bool:
    return isinstance(device, (str, torch.device)) and torch.device(device).type == "cuda"


def _as_meta(device: Any) -> Any:
    return torch.device("meta") if isinstance(device, (str, torch.device)) and _is_cuda(device) else device
