"""`ImitatedTensor`: a tensor that says to be on a CUDA device, and holds its values on the CPU.

For torch's C++ it is on the meta device, which runs without a GPU: autograd asks a CUDA device for its stream.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from detkit.testing.imitation.waits import wait

IMITATED = torch.device("cuda", 0)
_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)


class ImitatedTensor(Tensor):
    """A tensor on the imitated device; operations on it run within `imitated_device` only.

    Args:
        held: its values, a tensor on the CPU.
        requires_grad: as of any leaf.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> ImitatedTensor:
        # A view of an ordinary tensor is one in inference mode too, so all are.
        with torch.inference_mode(False):
            tensor: ImitatedTensor = Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                layout=held.layout,
                device=torch.device("meta"),
                requires_grad=requires_grad,
                _extra_dispatch_keys=_AUTOCAST,
            )
        tensor.held = held.detach()
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as torch documents it

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub is an instance method
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func}: a tensor of an imitated device is used outside of `with imitated_device()`")

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch declares an attribute
        return IMITATED

    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = is_meta = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        return 0

    def tolist(self) -> Any:
        wait("tolist")
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.cpu().detach().numpy()
        self._refuse_numpy()

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse_numpy()

    def _refuse_numpy(self) -> NoReturn:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def pin_memory(self, device: Any = None) -> NoReturn:
        raise RuntimeError(f"cannot pin '{self.dtype}' on cuda:0: only dense CPU tensors can be pinned")

    def __deepcopy__(self, memo: dict[int, Any]) -> ImitatedTensor:
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
        copied = ImitatedTensor(self.held.clone(), self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied._is_param = True
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as the tensor of the CPU, as which a file is loaded where there is no GPU."""
        held = torch.nn.Parameter(self.held, self.requires_grad) if isinstance(self, torch.nn.Parameter) else self.held
        return held.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]  # of torch

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]  # torch's names the type Any
        return f"ImitatedTensor({self.held!r}, device='{IMITATED}')"
