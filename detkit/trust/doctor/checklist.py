"""All checks of ``detkit doctor``, in their order."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping

from detkit.errors import InputError, one_line
from detkit.trust.doctor.anchor_check import check_anchors
from detkit.trust.doctor.data_checks import check_annotations, check_classes
from detkit.trust.doctor.findings import Check, Finding
from detkit.trust.doctor.pixel_check import check_pixels
from detkit.trust.doctor.round_trip.trip_checks import check_augmentation, check_round_trip
from detkit.trust.doctor.subject import Subject
from detkit.trust.doctor.trials.memory_check import check_memory
from detkit.trust.doctor.trials.network_trials import check_precision, check_random
from detkit.trust.doctor.trials.overfit_check import check_overfit
from detkit.trust.doctor.trials.worker_check import check_workers

CHECKS: Mapping[Check, Callable[[Subject], Finding]] = {
    "annotations": check_annotations,
    "classes": check_classes,
    "pixels": check_pixels,
    "round_trip": check_round_trip,
    "augmentation": check_augmentation,
    "anchors": check_anchors,
    "memory": check_memory,
    "workers": check_workers,
    "random": check_random,
    "precision": check_precision,
    "overfit": check_overfit,
}
"""The checks by name. Memory comes before those in which the network runs, which leave some behind."""


def examine(subject: Subject, skip: Collection[str] = ()) -> Iterator[Finding]:
    """The finding of each check, as it ends; one that cannot be made has failed."""
    for name, check in CHECKS.items():
        if name in skip:
            yield Finding(name, "skipped", "left out by --skip")
            continue
        subject.progress(name)
        try:
            yield check(subject)
        except InputError as error:
            yield Finding(name, "failed", str(error))
        except Exception as error:  # of the user's own classes, which must not end the other checks
            if os.environ.get("DETKIT_DEBUG"):
                raise
            where = f"the check could not be made: {type(error).__name__}: {one_line(error)}"
            yield Finding(name, "failed", where, ["DETKIT_DEBUG=1 raises the error instead"])
