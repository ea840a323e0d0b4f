"""Settings that a resumed run has changed: used from its next step on, or refused.

`RULES` is the one table of them; ``docs/training.md`` has it in words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detkit.engine.config.old_configs import modernize
from detkit.errors import InputError
from detkit.files.json_values import shortened

logger = logging.getLogger(__name__)


class Change(NamedTuple):
    """A key of a recipe with its former and its present value."""

    key: str
    before: Any
    now: Any


class Rule(NamedTuple):
    """Whether a run can go on with another value of some keys.

    Args:
        keys: a pattern of dotted keys.
        refused: why not; None: it is used.
    """

    keys: str
    refused: str | None = None


_SECTIONS = ("", "data", "data.shapes", "trainer")
"""Mappings whose keys are arguments. So are those of ``init_args``; in others they are chosen freely."""

_FOLDER = "a resumed run stays in its folder"
_WEIGHTS = "the weights come from the checkpoint"
_RANDOM = "its random numbers and the order of its images go on"
_STATE = "the optimizer's state is of the former one"
_GROUPS = "it began with other groups of parameters, to which its optimizer's state belongs"

RULES = (
    Rule("name", _FOLDER),
    Rule("runs", _FOLDER),
    Rule("start_from", _WEIGHTS),
    Rule("seed", _RANDOM),
    Rule("data.seed", _RANDOM),
    *(
        Rule(f"*optimizer.init_args.{name}")
        for name in ("lr", "weight_decay", "momentum", "dampening", "betas", "eps", "alpha", "rho", "foreach")
    ),
    Rule("*optimizer.init_args.trust_coefficient"),
    Rule("*optimizer", _STATE),
    Rule("*optimizer.*", _STATE),
    Rule("lr_factors*", _GROUPS),
    Rule("lr_layer_decay*", _GROUPS),
    Rule("decay_norm_and_bias", _GROUPS),
    Rule("lr_batch_size"),
    Rule("schedule"),
    Rule("schedule.*"),
    Rule("model.*.weights", _WEIGHTS),
    Rule("model.*"),  # its weights must fit, see `detkit.engine.checkpoint.check_weights`
    Rule("data.*"),  # its classes must be those of the checkpoint
    Rule("learner.*"),  # its weights must fit, see `detkit.engine.phases.check_learner_weights`
    Rule("ema"),
    Rule("evaluators"),
    Rule("validation_loss"),
    Rule("pictures"),
    Rule("save_every_n_steps"),
    Rule("compile"),
    Rule("trainer.*"),
)
"""The first rule that fits a key holds; a key without one is refused."""


def check_changes(recorded: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuse a recipe with which a run cannot go on, and say what else has changed.

    Args:
        recorded: the recipe in the checkpoint, resolved. Nothing that it names is imported.
        now: the recipe of the resumed run, resolved.
        checkpoint: the file.

    Raises:
        InputError: it names the first setting that cannot change, and why.
    """
    folder = checkpoint.resolve().parent
    changes = [change for change in differences(modernize(dict(recorded)), now) if not _is_same(change, folder)]
    for change in changes:
        reason = _refusal(change)
        if reason is not None:
            raise InputError(
                f"{change.key} was {_shown(change.before)} and is now {_shown(change.now)}, but {checkpoint} "
                f"cannot go on with another value: {reason}; take the former one, or begin a new run with --start_from "
                f"{checkpoint}."
            )
    _log(changes)


def differences(before: Any, now: Any, key: str = "") -> Iterator[Change]:
    """What differs between two recipes; of two classes only their names.

    Arguments that only one of them has are those of another release, and no difference.
    """
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        if before != now:
            yield Change(key, before, now)
        return
    if before.get("class_path") != now.get("class_path"):
        yield Change(f"{key}.class_path", before.get("class_path"), now.get("class_path"))
        return
    both = [name for name in before if name in now]
    either = dict.fromkeys([*before, *now])
    for name in both if key in _SECTIONS or key.endswith("init_args") else either:
        yield from differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)


def _is_same(change: Change, folder: Path) -> bool:
    """Whether name or parent of the run's folder are given as they are, or not at all."""
    same = {
        "name": lambda: change.now in (None, folder.name),
        "runs": lambda: change.now == "runs" or Path(change.now).resolve() == folder.parent,
    }
    return change.key in same and same[change.key]()


def rule_of(key: str) -> Rule | None:
    """The rule of a dotted key."""
    return next((rule for rule in RULES if fnmatchcase(key, rule.keys)), None)


def _refusal(change: Change) -> str | None:
    rule = rule_of(change.key)
    if rule is None:
        return "no rule says that it could change"
    if change.key.endswith("optimizer.init_args.momentum") and bool(change.before) != bool(change.now):
        return _STATE
    return rule.refused


@rank_zero_only
def _log(changes: list[Change]) -> None:
    if changes:
        listed = ", ".join(f"{one.key} {_shown(one.before)} -> {_shown(one.now)}" for one in changes)
        logger.info("resumed with changed settings: %s", listed)


def _shown(value: Any) -> str:
    return shortened(value["class_path"] if isinstance(value, Mapping) and "class_path" in value else str(value))
