"""The device of an option ``--device``."""

from __future__ import annotations

import torch

from detkit.errors import InputError, first_line


def named_device(name: str) -> torch.device:
    """The device of an option ``--device``.

    Raises:
        InputError: there is no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used: {first_line(error)}") from error
    return device
