"""The warning of a model whose raw output is not finite, which names the first layer where that is so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from detkit.heads.raw_outputs import Notes, noting, tensors_in

_WARNED: WeakSet[nn.Module] = WeakSet()


def warn_if_not_finite(model: nn.Module, notes: Notes, images: Sequence[Tensor], detect: Callable[[], Any]) -> None:
    """Warn, once for each model, if a noted output is not finite.

    The call is repeated once to find the layer, except in training mode, where that would change statistics.

    Args:
        model: that was called.
        notes: of the call.
        images: that it was called with.
        detect: repeats the call.
    """
    if torch.compiler.is_compiling() or model in _WARNED:
        return
    names = notes.not_finite()
    if not names:
        return
    where = None
    if not any(module.training for module in model.modules()):
        with noting(exact=True) as notes:
            where = _first_not_finite(model, images, detect)
        names = notes.not_finite()
        if where is None and not names:  # only a sum was too large
            return
    _WARNED.add(model)
    if where is None:
        where = f"the output of {', '.join(names)} is not finite; look for weights that diverged or do not fit"
    warnings.warn(
        f"{type(model).__name__}: {where}. The results are incomplete: what is not finite is dropped or has no meaning",
        stacklevel=3,
    )


def warn_again(model: nn.Module) -> None:
    """Warn of the next output of `model` that is not finite again, although a warning was given before."""
    _WARNED.discard(model)


class _Found(Exception):
    """Ends the repeated call at the first layer whose output is not finite."""


def _first_not_finite(model: nn.Module, images: Sequence[Tensor], detect: Callable[[], Any]) -> str | None:
    """The message about the first layer whose output is not finite; None if there is none."""
    given = [index for index, image in enumerate(images) if not bool(image.isfinite().all())]
    if given:
        return f"images {given} of the batch hold values that are not finite"

    def check(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            bad = [tensor for tensor in tensors_in(output) if not bool(tensor.isfinite().all())]
            if bad:
                raise _Found(_message(name, module, bad[0], len(images)))

        return hook

    hooks = [module.register_forward_hook(check(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            detect()
    except _Found as found:
        return str(found)
    finally:
        for hook in hooks:
            hook.remove()
    return None


def _message(name: str, module: nn.Module, output: Tensor, images: int) -> str:
    of_images = ""
    if output.ndim > 1 and len(output) == images:
        rows = torch.where(~output.isfinite().flatten(1).all(dim=1))[0].tolist()
        of_images = f" for images {rows} of the batch"
    sentence = f"the output of layer {name} ({type(module).__name__}) is not finite{of_images}; "
    bad = [
        tensor_name
        for tensor_name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if not bool(tensor.isfinite().all()) or (tensor_name == "running_var" and bool((tensor < 0).any()))
    ]
    if bad:
        return sentence + f"its {', '.join(bad)} cannot be used, load other weights"
    if output.dtype == torch.float16:
        return sentence + f"float16 ends at {torch.finfo(torch.float16).max:.0f}, use bfloat16 or float32"
    return sentence + "look for weights that diverged or do not fit the network or its input"
