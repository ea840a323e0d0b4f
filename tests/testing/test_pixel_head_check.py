"""check_head takes detkit's pixel heads, and names each rule of label maps that a broken one breaks."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from detkit.heads import DeepLabV3Head, DeepLabV3PlusHead, FCNHead, LRASPPHead
from detkit.heads.pixel.criteria import OHEM, Dice, LovaszSoftmax, PixelCriterion
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.testing import ContractError, check_head

CHANNELS, STRIDES, CLASSES = [8, 8], [4, 8], 3
HEADS = {
    "fcn": FCNHead,
    "other losses": partial(FCNHead, criteria={"hard": OHEM(0.7, 50), "dice": Dice(), "lovasz": LovaszSoftmax()}),
    "deeplab_v3": partial(DeepLabV3Head, width=8),
    "deeplab_v3_plus": partial(DeepLabV3PlusHead, width=8, low_width=4),
    "lraspp": partial(LRASPPHead, width=8),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", HEADS)
def test_ours_pass(name):
    check_head(HEADS[name](CHANNELS, STRIDES, CLASSES), CHANNELS, STRIDES, CLASSES, steps=8)


class AllPixels(PixelCriterion):
    """Takes pixels without a class for those of the first, but for images without any."""

    def __call__(self, logits, labels, weights=None):
        known = (labels >= 0).flatten(1).any(dim=1)[:, None, None]
        losses = torch.nn.functional.cross_entropy(logits.float(), labels.clamp(min=0), reduction="none")
        return (losses * known).mean()


class OfTheNetwork(FCNHead):
    def decode(self, raw, context):
        labels = self.decode_padded(raw, context).label_map
        return [replace(one, label_map=own) for one, own in zip(super().decode(raw, context), labels, strict=True)]


class Mirrored(FCNHead):
    def decode(self, raw, context):
        return super().decode(PixelOutput(raw.logits.flip(3)), context)


class Wide(FCNHead):
    def decode(self, raw, context):
        return [replace(one, label_map=one.label_map.short()) for one in super().decode(raw, context)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(FCNHead, criteria={"all": AllPixels()}), "pixels without a class .* have a gradient"),
        (OfTheNetwork, "must have the .* pixels of the image as given"),
        (Mirrored, r"ideal, decoded, gives back \d+% of the pixels"),
        (Wide, "the label map must be torch.uint8, got torch.int16"),
    ],
    ids=["ignored", "size", "mirrored", "dtype"],
)
def test_names_the_broken_rule(make, words):
    with pytest.raises(ContractError, match=words):
        check_head(make(CHANNELS, STRIDES, CLASSES), CHANNELS, STRIDES, CLASSES, steps=8)
