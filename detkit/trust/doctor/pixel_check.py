"""The check of pixels: what the network gets has the spread that networks learn from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detkit.models import VisionModel
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject

MOST_IMAGES = 16
FAR = 10.0  # the mean in standard deviations from which on images look alike


def check_pixels(subject: Subject) -> Finding:
    """Normalized pixels are finite and differ, and are normalized as those that the backbone was trained on."""
    dataset = subject.data.train_dataset
    if getattr(subject.model, "preprocess", None) is None:
        return Finding("pixels", "skipped", f"a {type(subject.model).__name__} has no preprocess")
    parts = [_pixels(subject.model, dataset[index][0]) for index in subject.some(dataset, MOST_IMAGES)]
    if not parts:
        return Finding("pixels", "failed", "the training data has no images: check data.root and the split")
    pixels = torch.cat(parts, dim=1).double()
    means, stds = pixels.mean(dim=1), pixels.std(dim=1)
    mean, std = float(means.mean()), float(stds.mean())
    sentence = f"normalized pixels have mean {mean:.2f} and standard deviation {std:.2f} in {len(parts)} images"
    numbers = {"mean": means.tolist(), "std": stds.tolist()}
    advice = "check model.preprocess.init_args.mean and std, which are for pixels in [0, 1]"
    if not bool(pixels.isfinite().all()):
        return Finding("pixels", "failed", "normalized pixels are not finite", [advice], numbers)
    notes = _other_normalization(subject.model)
    if std == 0:
        notes.insert(0, "all pixels are the same: the images are blank, or are not read as they are")
    elif abs(mean) > FAR * std:
        notes.insert(
            0, f"the mean is {abs(mean) / std:.0f} standard deviations from 0, so that images look alike: {advice}"
        )
    return Finding("pixels", "warning" if notes else "passed", sentence, notes, numbers)


def _pixels(model: VisionModel, image: Tensor) -> Tensor:
    """The normalized pixels ``(3, P)`` of an image, without padding."""
    batch = model.preprocess([image])
    height, width = batch.sizes[0]
    return batch.images[0, :, :height, :width].flatten(1).float().cpu()


def _other_normalization(model: VisionModel) -> list[str]:
    """A sentence where timm's weights of the backbone are for pixels that are normalized otherwise."""
    backbone: Any = getattr(model, "backbone", None)
    if getattr(backbone, "weights_source", None) is None:
        return []
    config = getattr(getattr(backbone, "trunk", None), "pretrained_cfg", None) or {}
    own = {name: getattr(model.preprocess, name).flatten().tolist() for name in ("mean", "std")}
    notes = []
    for name, values in own.items():
        trained = config.get(name)
        if trained is not None and any(abs(a - b) > 0.01 for a, b in zip(trained, values, strict=True)):
            listed = [", ".join(f"{value:.3g}" for value in one) for one in (trained, values)]
            notes.append(
                f"the weights of the backbone were trained with a {name} of ({listed[0]}), but model.preprocess has "
                f"({listed[1]})"
            )
    return notes
