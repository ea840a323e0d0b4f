"""Counts the operations of a step, and where it waits for a device, on any machine.

    with OperationCounter() as counter:
        sum(model.compute_losses(images, targets).values()).backward()
    counter.operations, counter.waits
    print(counter.report())

Every operation that torch dispatches to a kernel counts, in the backward pass too. Views, `detach` and `empty` launch
nothing on a device and are left out.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import detkit
from detkit.heads.raw_outputs import tensors_in
from detkit.testing.imitation.waits import kind_of_wait

PACKAGE = str(Path(detkit.__file__).parent)
LAUNCHES_NOTHING = ("aten.detach", "aten.empty", "aten.new_empty", "aten._unsafe_view", "aten.lift_fresh", "aten.alias")
COPIES = {torch.Tensor.tolist: "tolist", torch.Tensor.cpu: "cpu", torch.Tensor.numpy: "numpy"}
"""Methods that wait for a device, but dispatch nothing where the tensor is on the CPU already."""
ON_THE_HOST = ("structures/target.py", "structures/fields.py", "structures/meshes/object_rows.py", "ops/nms.py")
"""Where the objects of a target are selected before it moves to a device, where the rows of packed objects are counted,
and where scores are checked on the CPU."""


class OperationCounter:
    """Counts dispatched operations within a ``with`` block.

    Attributes:
        by_name: how often each operation was called.
        by_location: how often operations were called from each line of detkit; the backward pass is one location.
        waits_by_location: the operations among them that wait for a device, by name and line.
    """

    def __init__(self) -> None:
        self.by_name: Counter[str] = Counter()
        self.by_location: Counter[str] = Counter()
        self.waits_by_location: Counter[str] = Counter()
        self._modes = ExitStack()

    def __enter__(self) -> OperationCounter:
        self._modes.enter_context(_Operations(self))
        self._modes.enter_context(_Copies(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()

    def count(self, name: str) -> None:
        """Count a call of the operation `name`."""
        self.by_name[name] += 1
        self.by_location[_location()] += 1

    def count_wait(self, name: str) -> None:
        """Count a call of `name` that waits for a device."""
        location = _location()
        if not location.startswith(ON_THE_HOST):
            self.waits_by_location[f"{name} at {location}"] += 1

    @property
    def operations(self) -> int:
        """How many operations ran."""
        return self.by_name.total()

    @property
    def waits(self) -> int:
        """How many of them wait for a device."""
        return self.waits_by_location.total()

    def report(self, lines: int = 20) -> str:
        """Every wait, and the lines of detkit that call the most operations."""
        waits = [f"{count:6d} {what}" for what, count in self.waits_by_location.most_common()]
        calls = [f"{count:6d} {where}" for where, count in self.by_location.most_common(lines)]
        return "\n".join((f"{self.operations} operations, {self.waits} waits", *waits, "", *calls))


class _Operations(TorchDispatchMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if not (function.is_view or name.startswith(LAUNCHES_NOTHING)):
            self.counter.count(name)
            if kind_of_wait(function._schema.name, args, kwargs or {}, lambda tensor: True) is not None:
                self.counter.count_wait(name)
        return function(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in COPIES:
            self.counter.count_wait(COPIES[function])
        return function(*args, **(kwargs or {}))


def count_step(model, images, targets, given=None) -> OperationCounter:
    """The operations of the losses and their backward pass, the parameters' gradients made before."""
    _fill_gradients(model)
    options = {} if given is None else {"given": given}
    with OperationCounter() as counter:
        sum(model.compute_losses(images, targets, **options).values()).backward()
    return counter


def count_detection(model, images, given=None) -> OperationCounter:
    """The operations from given images to their answers.

    Args:
        model: in evaluation mode.
        images: given images.
        given: what the model asks for with each image.
    """
    options = {"given": given} if model.asks_for else {}
    with torch.no_grad(), OperationCounter() as counter:  # inference mode would hide what an operation consists of
        model.detect(images, **options)
    return counter


def count_raw(model, images) -> OperationCounter:
    """The operations of backbone, neck and heads and their backward pass: the least that a step can do.

    Args:
        model: of any kind.
        images: given images.
    """
    _fill_gradients(model)
    batch = model.preprocess(images)
    with OperationCounter() as counter:
        raw = [tensor for tensor in tensors_in(model.raw(batch.images)) if tensor.requires_grad]
        torch.autograd.backward(raw, [torch.ones_like(tensor) for tensor in raw])
    return counter


def _fill_gradients(model) -> None:
    """Zero gradients, so that each step adds to them and no step is the first."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


def _location() -> str:
    """The innermost line of detkit that is being run, with its function."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            return f"{path[len(PACKAGE) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "backward or outside of detkit"
