"""Short options of each command, such as ``--epochs 3``, and the full ones that they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from detkit.engine.shorthand.image_size import refuse_image_size
from detkit.errors import InputError
from detkit.files import read_yaml

Options = list[tuple[str, str]]
Values = Callable[[str], Options | None]

_NUMBERS = r"\d+(?:,\d+)*"


@dataclass(frozen=True)
class Short:
    """A short option.

    Args:
        names: what may be typed.
        example: a value.
        stands_for: the full option.
        options: the full options for a value, where there is more to it than the name; None for a value that stays.
    """

    names: tuple[str, ...]
    example: str
    stands_for: str
    options: Values | None = None

    def full(self, value: str) -> Options | None:
        """The full options with their values; None where the option is to stay as it is."""
        return [(self.stands_for, value)] if self.options is None else self.options(value)


def _data(value: str) -> Options | None:
    """A folder or a YOLO file is ``data.root``; ``--data`` also takes all its settings, in YAML or a file of them."""
    if value.lstrip().startswith("{"):
        return None
    if value.endswith((".yaml", ".yml")):
        content = read_yaml(value)
        if not (isinstance(content, dict) and "names" in content):
            return None
    return [("--data.root", value)]


def _trainer_device(value: str) -> Options:
    """``cuda:1`` is Lightning's accelerator and device."""
    kind, numbers = _kind_and_numbers(value)
    accelerator = [("--trainer.accelerator", {"cuda": "gpu"}.get(kind, kind))]
    if kind == "cuda":
        return [*accelerator, ("--trainer.devices", f"[{numbers}]" if numbers else "1")]
    return accelerator


def _one_device(value: str) -> Options | None:
    """``0`` is ``cuda:0``; others are left as they are."""
    return [("--device", f"cuda:{value}")] if value.isdecimal() else None


def _kind_and_numbers(value: str) -> tuple[str, str]:
    match = re.fullmatch(rf"(?:cuda|gpu)(?::({_NUMBERS}))?|({_NUMBERS})|(auto|cpu|mps)", value)
    if match is None:
        raise InputError(f"--device {value}: give auto, cpu, cuda, cuda:N, the numbers of GPUs such as 0,1, or mps.")
    return (match[3], "") if match[3] else ("cuda", match[1] or match[2] or "")


_DATA = Short(("--data",), "my/folder", "--data.root", _data)
_CHECKPOINT = Short(("--model", "--weights"), "runs/mine/best.ckpt", "--checkpoint")
_BATCHES = Short(("--batch", "--batch_size", "--batch-size"), "8", "--data.batch_size")
_WORKERS = Short(("--workers",), "4", "--data.num_workers")
_DEVICE = Short(("--device",), "0", "--device", _one_device)

SHORT_OPTIONS: Mapping[str, Sequence[Short]] = {
    "train": (
        _DATA,
        Short(("--epochs",), "50", "--trainer.max_epochs"),
        _BATCHES,
        Short(("--lr",), "0.01", "--optimizer.init_args.lr"),
        Short(("--device",), "cuda:0", "--trainer.accelerator and --trainer.devices", _trainer_device),
        _WORKERS,
    ),
    "eval": (_CHECKPOINT, _DATA, _BATCHES, _WORKERS, _DEVICE),
    "compare": (_DATA, _BATCHES, _WORKERS, _DEVICE),
    "verify": (_CHECKPOINT, _DATA, _BATCHES, _WORKERS),
    "report": (_DATA, Short(("--conf",), "0.3", "--score_threshold"), _BATCHES, _WORKERS, _DEVICE),
    "serve": (Short(("--batch", "--batch-size"), "8", "--batch_size"), _DEVICE),
    "predict": (
        _CHECKPOINT,
        Short(("--conf",), "0.3", "--score_threshold"),
        Short(("--batch", "--batch-size"), "8", "--batch_size"),
        _DEVICE,
    ),
}
"""The short options of each command."""

_SOURCE = "--source"  # of predict: the option is left out, its value is an input
_IMAGE_SIZES = ("--imgsz", "--img", "--image_size", "--img-size")


def with_full_options(command: str, argv: Sequence[str]) -> list[str]:
    """The command line with full options in place of short ones.

    Raises:
        InputError: a short and a full option disagree, or an option has no full one, such as ``--imgsz``.
    """
    full: list[str] = []
    origins: dict[str, tuple[str, str]] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        option, equals, value = argument.partition("=")
        follows = not equals and bool(rest) and not (rest[0].startswith("--") and len(rest[0]) > 2)
        value = rest[0] if follows else value
        if option in _IMAGE_SIZES:
            refuse_image_size(command, option, value, argv)
        if option == "--conf" and command == "eval":
            raise InputError("--conf is for predict: an AP counts detections of all scores, leave it out.")
        meant = _meant(command, option, value) if equals or follows else None
        if option.startswith("--"):
            for key, its in meant if meant is not None else [(option, value)]:
                _check_agreement(origins, key, its, f"{option} {value}")
        if meant is None:
            full.append(argument)
            continue
        del rest[: int(follows)]
        full += [word for key, its in meant for word in ([its] if key == _SOURCE else [f"{key}={its}"])]
    return full


def _meant(command: str, option: str, value: str) -> Options | None:
    """The full options of a short one; None for others."""
    if option == _SOURCE and command == "predict":
        return [(_SOURCE, value)]
    short = next((one for one in SHORT_OPTIONS.get(command, ()) if option in one.names), None)
    return None if short is None else short.full(value)


def _check_agreement(origins: dict[str, tuple[str, str]], key: str, value: str, given: str) -> None:
    """Refuse a value of `key` that another spelling of the same option contradicts."""
    *section, last = key.split(".")  # a mapping of init_args adds to the class, and contradicts nothing
    known = ".".join([*(part for part in section if part != "init_args"), last])
    before, origin = origins.setdefault(known, (value, given))
    spelled = given.partition(" ")[0] == origin.partition(" ")[0]
    if before != value and not spelled:
        raise InputError(f"{origin} and {given} both set {known.lstrip('-')}: leave one of them out.")


def short_help(command: str) -> str:
    """The lines on short options at the end of a command's description."""
    rows = [(f"{one.names[0]} {one.example}", one.stands_for, one.names[1:]) for one in SHORT_OPTIONS[command]]
    if command == "predict":
        rows.append((f"{_SOURCE} photos/", "photos/", ()))
    rows = [row for row in rows if row[1] != "--device"]
    width = max(len(row[0]) for row in rows)
    lines = [
        f"  {short.ljust(width)}  {full}" + (f" (also {', '.join(others)})" if others else "")
        for short, full, others in rows
    ]
    return "\n".join(["", "", "short options, and what they stand for:", *lines])
