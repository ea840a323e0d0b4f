"""U-Net (Ronneberger 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from detkit.backbones import Backbone, as_backbone
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.unet import UNetHead
from detkit.models.pixel.connected_objects import ConnectedObjects
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import SegmentationModel
from detkit.preprocess import MirroredBorders, OriginalSize, Preprocess


class UNet(SegmentationModel):
    """A contracting and an expansive path, with copies between them (Ronneberger 2015, figure 1).

        image (3, 572, 572)                              logits (K, 388, 388)
           v                                                ^ 1x1 conv
        (64, 568, 568) --- copy, crop to 392 x 392 ----> (64, 388, 388)
           v                                                ^
        (128, 280, 280) -- copy, crop to 200 x 200 ----> (128, 196, 196)
           v                                                ^
        (256, 136, 136) -- copy, crop to 104 x 104 ----> (256, 100, 100)
           v                                                ^
        (512, 64, 64) ---- copy, crop to 56 x 56 ------> (512, 52, 52)
           v                                                ^
        (1024, 28, 28) -------------------------------------+

    Down: 2x2 max pool (not of the image), two 3x3 convolutions with ReLU. Up: 2x2 up-convolution, concatenation with
    the copy, two 3x3 convolutions with ReLU.

    ``UNet(UNetEncoder(), num_classes)`` is the paper's, drawn here: 23 convolutions without padding and without batch
    norm, which answer for 388 x 388 of 572 x 572 pixels. Images are RGB, those of the paper have one channel.
    ``UNet(UNetEncoder(padded=True), num_classes)`` answers for all pixels that it gets. Any other backbone gets the
    same expansive path, padded.

    Args:
        backbone: `detkit.backbones.UNetEncoder`, any other backbone, or the name of a torchvision or timm net.
        num_classes: classes, background included where the data has it.
        weighted: multiply losses by the ``pixel_weights`` of targets; see `UNetHead`.
        criteria: the losses by name; see `PixelHead`.
        preprocess: resizes, normalizes and pads; None: `MirroredBorders` for an encoder without padding, and
            `OriginalSize` with the largest stride as its divisor for others.
        loss_weights: factor of each named loss; 1 where not named.
        inference: how whole images are answered; see `SegmentationModel`.
        objects: makes objects of the pixels of things; see `SegmentationModel`.
    """

    stages = (1, 2, 3, 4, 5)

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        weighted: bool = False,
        criteria: Mapping[str, PixelCriterion] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
        objects: ConnectedObjects | None = None,
    ) -> None:
        backbone = as_backbone(backbone, self.stages)
        if preprocess is None:
            preprocess = OriginalSize(divisor=max(backbone.strides)) if backbone.padded else MirroredBorders()
        head = partial(UNetHead, padded=backbone.padded, weighted=weighted, criteria=criteria)
        super().__init__(
            backbone,
            num_classes,
            head,
            preprocess=preprocess,
            loss_weights=loss_weights,
            inference=inference,
            objects=objects,
        )
