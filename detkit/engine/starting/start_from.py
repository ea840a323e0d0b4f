"""`start_from`: the weights that a run begins with, from a checkpoint or another library's files."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import torch

from detkit.backbones.pretrained import read_state_dict
from detkit.engine.checkpoint import Checkpoint
from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.models.transfer.given_weights import GivenWeights
from detkit.models.transfer.load_given import load_given
from detkit.models.transfer.start_report import StartReport
from detkit.structures import WeightsSource
from detkit.weights import from_detectron2, from_torchvision
from detkit.weights.darknet.trainable import darknet_weights
from detkit.weights.detectron2_file import read_detectron2
from detkit.weights.torchvision_weights import categories_of

logger = logging.getLogger(__name__)

Read = Callable[[str, list[str], VisionModel], GivenWeights]


def start_from(model: VisionModel, source: str, trust: Sequence[str] = ()) -> StartReport:
    """Load the weights of `source` into `model`, class by class; see `load_given`.

    Random numbers are not used up: those of the run are the same as without.

    Args:
        model: its ``categories`` are those to be learned.
        source: a checkpoint or the folder of a run; ``torchvision:NAME`` for published weights, which are downloaded,
            or ``torchvision:NAME,FILE``; ``detectron2:NAME,FILE``; ``darknet:CFG,WEIGHTS``.
        trust: packages whose classes a checkpoint may name.

    Raises:
        InputError: the source is of no known kind, cannot be read, or fits no tensor of the model.
    """
    scheme, colon, rest = source.partition(":")
    with torch.random.fork_rng(devices=[]):
        if not colon or Path(source).exists() or not re.fullmatch(r"\w{2,}", scheme):  # C:\ is a disk
            given = _checkpoint(source, trust)
        elif scheme in SCHEMES:
            read, _ = SCHEMES[scheme]
            parts = rest.split(",", 1) if rest else []
            given = read(source, [part.strip() for part in parts], model)
        else:
            close = get_close_matches(scheme, SCHEMES, n=1)
            meant = f" (is {close[0]} meant?)" if close else ""
            forms = ", ".join(form for _, form in SCHEMES.values())
            raise InputError(
                f"start_from: {source!r} is of no known kind{meant}: give a checkpoint, the folder of a run, {forms}"
            )
    report = load_given(model, given)
    model.provenance = [*model.provenance, *given.provenance]
    return report


def _checkpoint(source: str, trust: Sequence[str]) -> GivenWeights:
    checkpoint = Checkpoint.read(source)
    path = str(checkpoint.path)
    try:
        model = checkpoint.model(trust=trust)
    except InputError as error:  # the weights may be of use all the same
        logger.warning("anchors and pixel statistics of %s are not compared with those of the model: %s", path, error)
        return GivenWeights(path, checkpoint.weights, checkpoint.categories, provenance=checkpoint.provenance)
    return GivenWeights.of(model, path)


def _torchvision(source: str, parts: list[str], model: VisionModel) -> GivenWeights:
    if not parts or not all(parts):
        raise _wrong_form(source, "torchvision")
    name = parts[0]
    if len(parts) == 1:
        return GivenWeights.of(from_torchvision(name, weights="DEFAULT"), source)
    given = from_torchvision(name, read_state_dict(parts[1]))
    # A file has no names. Of the published weights' number of classes it is taken for those.
    published = categories_of(name)
    given.provenance = [WeightsSource.of_file(f"torchvision {name}", parts[1])]
    given.categories = published if len(published) == given.num_classes else None
    return GivenWeights.of(given, source)


def _detectron2(source: str, parts: list[str], model: VisionModel) -> GivenWeights:
    if len(parts) != 2 or not all(parts):
        raise _wrong_form(source, "detectron2")
    name, file = parts
    return GivenWeights.of(from_detectron2(name, read_detectron2(file)), source)


def _darknet(source: str, parts: list[str], model: VisionModel) -> GivenWeights:
    if len(parts) != 2 or not all(parts):
        raise _wrong_form(source, "darknet")
    given = darknet_weights(parts[0], parts[1], model)
    return replace(given, provenance=[WeightsSource.of_file(f"darknet {Path(parts[0]).name}", parts[1])])


SCHEMES: dict[str, tuple[Read, str]] = {
    "torchvision": (_torchvision, "torchvision:NAME or torchvision:NAME,FILE"),
    "detectron2": (_detectron2, "detectron2:NAME,FILE"),
    "darknet": (_darknet, "darknet:CFG,WEIGHTS"),
}
"""By the first word of a source, what reads it and how it is written."""


def _wrong_form(source: str, scheme: str) -> InputError:
    return InputError(f"start_from: {source!r} is not written as {SCHEMES[scheme][1]}")
