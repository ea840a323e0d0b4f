"""What differs in a program of `torch.export` itself: nodes, their arguments, constants and weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_map

from detkit.trust.certificate.parting.graph_changes import (
    LEAST_WEIGHT,
    Change,
    GraphChanges,
    constant_change,
    rounding_of,
)

_ROUNDING = 1e-6
"""Of the largest number of a weight: folding batch norm rounds."""


def torch_changes(given: Any, expected: Any, same_release: bool) -> GraphChanges:
    """What differs in the program `given`.

    Args:
        given: the program of a file.
        expected: that of its checkpoint.
        same_release: whether both were recorded by one release of detkit.
    """
    ours, theirs = _tensors(expected), _tensors(given)
    constants = []
    for name, own in ours.items():
        other = theirs.get(name)
        if other is None:
            continue
        words = name.removeprefix("model.")
        first, second = (
            one.detach().cpu().float().numpy() if one.is_floating_point() else one.cpu().numpy() for one in (other, own)
        )
        change = constant_change(words, first, second, rounding_of(second, _ROUNDING))
        constants += [] if change is None else [change]
    weights = sum(one.numel() >= LEAST_WEIGHT for one in ours.values())
    lost = [Change(f"{name.removeprefix('model.')} is missing") for name in ours.keys() - theirs.keys()]
    nodes = list(_nodes(given, expected))
    if same_release or not any(change is None for change in nodes):
        known = [change for change in nodes if change is not None]
        structure = [] if len(known) == len(nodes) else [Change("its nodes are not those of the checkpoint's graph")]
        return GraphChanges.of([*constants, *lost, *structure, *known], weights)
    note = "its nodes are not those of the checkpoint's graph: it was made with another release of detkit"
    return GraphChanges.of(constants, weights, note)


def _tensors(program: Any) -> dict[str, Tensor]:
    constants = {name: value for name, value in program.constants.items() if isinstance(value, Tensor)}
    return {**program.state_dict, **constants}


def _nodes(given: Any, expected: Any) -> Iterator[Change | None]:
    """Changes of the arguments of nodes; None where the nodes are no longer the same, at the end."""
    nodes = ([node for node in one.graph.nodes if node.op == "call_function"] for one in (given, expected))
    for node, own in zip_longest(*nodes):
        if node is None or own is None or (node.name, str(node.target)) != (own.name, str(own.target)):
            yield (
                None
                if node is None or own is None
                else Change(
                    f"{node.name} ({node.target}) stands where the checkpoint's graph has {own.name} ({own.target})"
                )
            )
            yield None
            return
        first, second = ((*one.args, *sorted(one.kwargs.items())) for one in (node, own))
        given_words, own_words = (str(tree_map(_plain, list(one))) for one in (first, second))
        if given_words != own_words:
            yield Change(f"a constant of {node.name} differs: {given_words} in place of {own_words}", 1)


def _plain(value: Any) -> Any:
    return f"%{value.name}" if isinstance(value, fx.Node) else str(value)
