"""Where a file of `torch.export` parts from its checkpoint: both programs, node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from detkit.trust.certificate.parting.parted_node import LIMITS, PartedNode, Parting, difference_of


def torch_parting(program: Any, reference: Any, inputs: Mapping[str, Tensor]) -> Parting:
    """The first node of a program whose value differs from that of the checkpoint's program.

    Args:
        program: of the file.
        reference: that of the checkpoint.
        inputs: of an image whose answers differ, in the order of the program.
    """
    first, second = (_steps(one.module(), list(inputs.values())) for one in (program, reference))
    looked_at = 0
    with torch.no_grad():
        for (node, given), (own, expected) in zip(first, second, strict=False):
            if node.name != own.name or node.target != own.target:
                note = (
                    f"{node.name} stands where the checkpoint has {own.name}: the file is of another release of detkit"
                )
                return Parting(None, looked_at, note)
            for one, other in zip(_tensors(given), _tensors(expected), strict=False):
                looked_at += 1
                difference, relative = difference_of(one.cpu().numpy(), other.cpu().numpy(), "float32")
                if relative > LIMITS["float32"]:
                    operation = str(getattr(node.target, "__name__", node.target))
                    parted = PartedNode(node.name, operation, _module(own), node.name, difference, relative)
                    return Parting(parted, looked_at)
    return Parting(None, looked_at, "no value of the program differs")


def _steps(module: Any, inputs: list[Tensor]) -> Iterator[tuple[fx.Node, Any]]:
    """Each node with its value; values that are no longer needed are forgotten."""
    interpreter = fx.Interpreter(module)
    interpreter.args_iter = iter(inputs)
    for node in module.graph.nodes:
        if node.op == "call_module" and str(node.target).startswith("_guards"):
            continue  # checks shapes alone
        interpreter.env[node] = interpreter.run_node(node)
        if node.op in ("call_function", "call_module"):
            yield node, interpreter.env[node]
        for unused in interpreter.user_to_last_uses.get(node, []):
            interpreter.env.pop(unused, None)


def _tensors(value: Any) -> list[Tensor]:
    return [one.detach() for one in tree_leaves(value) if isinstance(one, Tensor)]


def _module(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return str(paths[-1]).removeprefix("model.") if paths else ""
