"""The contract of a head on a GPU, as a check where there is none: on an imitated device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from detkit.heads import Context
from detkit.preprocess import Batch
from detkit.testing.batches import Batches
from detkit.testing.contract import deep_copy, no_error
from detkit.testing.head_callers import Caller, without_targets
from detkit.testing.imitation.imitated_device import imitated_device

_ADVICE = "make tensors on the device of those given, device=maps.device, and register others with register_buffer"
_HALF_ADVICE = f"{_ADVICE}; cast raw outputs with .float() in losses and decode"


def check_on_device(head: nn.Module, caller: Caller, batches: Batches, owner: str) -> None:
    """Run all verbs of `head` on an imitated GPU, in float32 and under autocast.

    Args:
        head: on the CPU; it is left as it is.
        caller: of its kind.
        batches: of maps and targets.
        owner: its name in messages.

    Raises:
        ContractError: a GPU would refuse an operation.
    """
    for case in ("objects", "no annotation"):
        _check_case(head, caller, batches, case, f"{owner} on a GPU, with {case}", half=False)
    _check_case(head, caller, batches, "objects", f"{owner} on a GPU under torch.autocast in bfloat16", half=True)


def _check_case(head: nn.Module, caller: Caller, batches: Batches, case: str, where: str, half: bool) -> None:
    advice = _HALF_ADVICE if half else _ADVICE
    with imitated_device(), no_error(where, advice):
        there = deep_copy(head, where).to("cuda").eval()
        features = [one.detach().to("cuda").requires_grad_() for one in batches.features()]
        context = _moved(batches.context(batches.targets(case)))
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            raw = caller.forward(there, features, context)
            losses = caller.losses(there, raw, context)
        torch.autograd.backward(list(losses.values()))
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=half):
            raw = caller.forward(there, features, without_targets(context))
            caller.decode(there, raw, without_targets(context))
            _ask(lambda: caller.candidates(there, raw, without_targets(context)))
            _ask(lambda: caller.assign(there, raw, context))


def _ask(verb: Callable[[], object]) -> None:
    """Call what a head may lack, and then says so without a message; torch's own errors have one."""
    try:
        verb()
    except NotImplementedError as error:
        if error.args:
            raise


def _moved(context: Context) -> Context:
    """The same batch on the device, as `VisionModel.context` makes it."""
    batch = Batch(context.batch.images.to("cuda"), context.batch.placements)
    assert context.targets is not None
    assert context.given is not None
    return Context(batch, [one.to("cuda") for one in context.targets], [one.to("cuda") for one in context.given])
