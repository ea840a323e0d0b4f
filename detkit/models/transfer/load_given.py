"""Loading the weights of another model, class by class."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor, nn

from detkit.backbones.finite_weights import warn_unless_finite
from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows, outputs_first
from detkit.models.transfer.class_layers import class_layers
from detkit.models.transfer.given_weights import GivenWeights, differing, names_of
from detkit.models.transfer.matched_names import MatchedNames, match_names
from detkit.models.transfer.start_report import StartReport
from detkit.models.vision_model import VisionModel
from detkit.structures import Category

logger = logging.getLogger(__name__)


def load_given(model: VisionModel, given: GivenWeights) -> StartReport:
    """Load what `given` and `model` share; log and return the report.

    Of layers whose outputs belong to classes the rows of classes of the same name are taken, in the order of
    ``model.categories``; other classes keep their initial values. Any other tensor is taken if its name and its shape
    are the same.

    Args:
        model: its ``categories`` are those to be learned.
        given: the weights.

    Raises:
        InputError: nothing fits.
    """
    loading = _Loading(model, given)
    own = model.state_dict()
    report = loading.report(own)
    if not report.taken:
        raise InputError(
            f"{given.source}: none of its {len(given.tensors)} tensors fits; it begins with "
            f"{next(iter(given.tensors), None)!r}, the model with {next(iter(own), None)!r}"
        )
    warn_unless_finite({name: own[name] for name in [*report.taken, *report.merged]}, given.source)
    # The model's own dictionary is updated: it has the version of the layout, which MNASNet reads.
    model.load_state_dict(own)
    logger.log(logging.INFO if report.is_complete else logging.WARNING, "%s", report)
    return report


class _Loading:
    """The weights that a model takes from others."""

    def __init__(self, model: VisionModel, given: GivenWeights) -> None:
        self.model, self.given = model, given
        self.rows, self.unknown = class_layers(model)
        self.names: dict[str, MatchedNames] = {}

    def report(self, own: dict[str, Tensor]) -> StartReport:
        """Update `own` with what is taken, and say what that is."""
        taken, merged, missing, mismatched = [], [], [], []
        numbers = 0
        for name, value in own.items():
            if name not in self.given.tensors:
                missing.append(name)
                continue
            tensor = self.given.tensors[name]
            rows = self.rows.get(name.rpartition(".")[0])
            if rows is None and tensor.shape == value.shape:
                own[name] = tensor
                taken.append(name)
                numbers += tensor.numel()
            elif rows is not None and (both := self._merged(name, rows, value, tensor)) is not None:
                own[name] = both
                merged.append(name)
                shared = rows.outputs(len(self.names[rows.names].pairs))
                numbers += value.numel() * shared // len(outputs_first(self._layer(name), value))
            else:
                mismatched.append((name, tuple(tensor.shape), tuple(value.shape)))
        unused = [name for name in self.given.tensors if name not in own]
        total = sum(value.numel() for value in own.values())
        return StartReport(
            self.given.source, taken, merged, _without_counters(missing), mismatched, _without_counters(unused),
            (numbers, total), self.names, self.unknown if self._others() else [],
            differing(self.given.constants, self.model),
        )  # fmt: skip

    def _merged(self, name: str, rows: ClassRows, own: Tensor, given: Tensor) -> Tensor | None:
        """A parameter of a layer with rows of classes; None if the other one is not for the same kind of layer."""
        layer = self._layer(name)
        if own.ndim != given.ndim or own.ndim == 0:
            return None
        ours, theirs = outputs_first(layer, own), outputs_first(layer, given)
        counts = rows.count(len(ours)), rows.count(len(theirs))
        if ours.shape[1:] != theirs.shape[1:] or counts[0] is None or counts[1] is None:
            return None
        names = match_names(self._own(rows), names_of(self.given.categories, rows.names), counts[0], counts[1])
        if names is None:
            return None
        self.names[rows.names] = names
        return outputs_first(layer, rows.merged(ours, theirs, names.pairs))

    def _layer(self, parameter: str) -> nn.Module:
        return self.model.get_submodule(parameter.rpartition(".")[0])

    def _own(self, rows: ClassRows) -> list[str]:
        return names_of(self.model.categories or (), rows.names)

    def _others(self) -> bool:
        """Whether the model has other classes than the source, or the same in another order."""
        given: Sequence[Category] = self.given.categories
        return names_of(self.model.categories or (), "classes") != names_of(given, "classes")


def _without_counters(names: list[str]) -> list[str]:
    """`names` without the counters of batch norm, which only running averages without momentum read."""
    return [name for name in names if not name.endswith("num_batches_tracked")]
