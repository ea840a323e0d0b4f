"""FCN-32s, FCN-16s and FCN-8s (Long 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from detkit.backbones import Backbone, as_backbone
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.score_skips import ScoreSkipHead
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import SegmentationModel
from detkit.preprocess import OriginalSize, Preprocess


class FCN32s(SegmentationModel):
    """A classifier made convolutional, with its class scores upsampled 32 times (Long 2015, figures 2 and 3).

        image (3, H, W) -> ConvolutionalVGG16 -> fc7
        fc7 (4096, stride 32) -> score (K) -> 32x -> crop -> logits (K, H, W)

    Args:
        backbone: `detkit.backbones.ConvolutionalVGG16`, any other backbone, or the name of a torchvision or timm net.
        num_classes: classes, background included where the data has it.
        skip_scales: see `ScoreSkipHead`.
        learned_upsampling: see `ScoreSkipHead`.
        criteria: the losses by name; see `PixelHead`.
        preprocess: resizes, normalizes and pads; None leaves images at their size, and with other backbones than
            `ConvolutionalVGG16` pads to multiples of the largest stride.
        loss_weights: factor of each named loss; 1 where not named.
        inference: how whole images are answered; see `SegmentationModel`.
    """

    skips = 0

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        skip_scales: Sequence[float] | None = None,
        learned_upsampling: bool = False,
        criteria: Mapping[str, PixelCriterion] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
    ) -> None:
        backbone = as_backbone(backbone, self.stages)
        if preprocess is None and backbone.origins is None:  # poolings that round down would leave some pixels out
            preprocess = OriginalSize(divisor=max(backbone.strides))
        head = partial(
            ScoreSkipHead,
            skips=self.skips,
            skip_scales=skip_scales,
            learned_upsampling=learned_upsampling,
            origins=backbone.origins,
            criteria=criteria,
        )
        super().__init__(
            backbone, num_classes, head, preprocess=preprocess, loss_weights=loss_weights, inference=inference
        )


class FCN16s(FCN32s):
    """FCN-32s with the scores of pool4 (Long 2015, figure 3).

        image (3, H, W) -> ConvolutionalVGG16 -> pool4 and fc7
        fc7 (4096, stride 32)  -> score (K) -> 2x ----+
        pool4 (512, stride 16) -> score (K) -> crop --+-> sum -> 16x -> crop -> logits (K, H, W)

    Arguments as of `FCN32s`.
    """

    skips = 1


class FCN8s(FCN32s):
    """FCN-16s with the scores of pool3 too (Long 2015, figure 3).

        image (3, H, W) -> ConvolutionalVGG16 -> pool3, pool4 and fc7
        fc7 (4096, stride 32)  -> score (K) -> 2x ----+
        pool4 (512, stride 16) -> score (K) -> crop --+-> sum -> 2x --+
        pool3 (256, stride 8)  -> score (K) -> crop ------------------+-> sum -> 8x -> crop -> logits (K, H, W)

    Arguments as of `FCN32s`.
    """

    skips = 2
