"""Every scalar argument of every head, of their parts and of their postprocessing has an effect.

An argument is changed to another valid value. Then the parameters differ in shape or initial value, or a loss, a
candidate, an assignment or a detection does. A new argument fails here until it has a value in the table.
"""

import dataclasses
import functools
import inspect
import types
import typing

import pytest
import torch
from argument_cases import CASES, NO_EFFECT, WEIGHTS
from torch import nn

from detkit import heads
from detkit.heads import Regions
from detkit.heads.region.mesh.voxel_head import Voxels
from detkit.ops import RunLengths
from detkit.structures import Classification, Detections, Meshes
from detkit.structures.meshes import Topology

# Base classes, tested by those derived from them, and an old name.
ABSTRACT = {
    "DenseHead",
    "ImageHead",
    "InstanceBranch",
    "PixelHead",
    "Postprocess",
    "RegionBranch",
    "RegionFeatureExtractor",
    "YOLOHead",
}
# What heads are called with and what they return.
VALUES = {"Candidates", "Context", "Crop", "Regions"}


def _cases():
    for case in CASES:
        for argument, value in case.others.items():
            options = "-".join(str(value) for value in case.base.values() if isinstance(value, str))
            yield pytest.param(case, argument, value, id="-".join(filter(None, (case.name, options, argument))))


@pytest.mark.parametrize(("case", "argument", "value"), list(_cases()))
def test_an_argument_has_an_effect(case, argument, value, tmp_path):
    if value == "FILE":
        value = str(tmp_path / "weights.pth")
        torch.save(WEIGHTS, value)
    assert value != case.base.get(argument, _arguments(case.name)[argument].default)
    differs = _differs(case, {argument: value})
    assert differs == ((case.name, argument) not in NO_EFFECT)


def test_the_same_arguments_have_the_same_outcome():
    assert not [case.name for case in CASES if _differs(case, {})]


def test_every_scalar_argument_of_every_class_is_in_the_table():
    tabled = {}
    for case in CASES:
        tabled.setdefault(case.name, set()).update(case.others)
    every = {name: {*_scalars(name)} for name in set(heads.__all__) - ABSTRACT - VALUES}
    assert tabled == every


def _differs(case, changed):
    """Whether the parameters or the outcome differ from those without the change."""
    usual_state, usual_outcome = _usual(CASES.index(case))
    other = _built(case, changed)
    return not _equal(usual_state, _state(other)) or not _equal(usual_outcome, _outcome(case, other))


@functools.cache
def _usual(index):
    part = _built(CASES[index], {})
    return _state(part), _outcome(CASES[index], part)


def _outcome(case, part):
    torch.manual_seed(11)
    return case.outcome(part)


def _built(case, changed):
    """The part with the same initial weights, which are spread so that predictions differ."""
    torch.manual_seed(2)
    part = getattr(heads, case.name)(**{**case.base, **changed})
    if isinstance(part, nn.Module):
        for parameter in part.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return part


def _state(part):
    """Copies of the parameters and buffers, and the size of the output."""
    if not isinstance(part, nn.Module):
        return {}
    values = {name: value.clone() for name, value in part.state_dict().items()}
    return {**values, "out_channels": getattr(part, "out_channels", 0)}


def _equal(one, other):
    """Whether two nested results are the same, of the same types and shapes."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and _equal(list(one.values()), list(other.values()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, (Detections, Classification, Regions)):
        return _equal(vars(one), vars(other))
    if isinstance(one, (RunLengths, Meshes)):
        return _equal(vars(one), vars(other))
    if isinstance(one, (Topology, Voxels)):  # without what they have computed since
        return all(_equal(getattr(one, own.name), getattr(other, own.name)) for own in dataclasses.fields(one))
    return one == other


def _arguments(name):
    """The parameters of a class, with those of its base classes if it passes on any."""
    result = {}
    for kind in getattr(heads, name).__mro__:
        if "__init__" not in vars(kind) or kind in (object, nn.Module):
            continue
        parameters = inspect.signature(kind.__init__, eval_str=True).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        named = {key: value for key, value in parameters.items() if value.kind is value.POSITIONAL_OR_KEYWORD}
        result = {**named, **result}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return result


def _scalars(name):
    for argument, parameter in _arguments(name).items():
        hint = parameter.annotation
        members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if any(member in (bool, int, float, str) or typing.get_origin(member) is typing.Literal for member in members):
            yield argument
