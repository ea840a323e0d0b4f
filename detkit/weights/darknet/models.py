"""Importing darknet's files as models, and exporting models to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.files import open_whole
from detkit.heads import NMS, Context
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.models import Detector
from detkit.object_config import recipe_of
from detkit.preprocess import Batch, Letterbox, Preprocess, Stretch
from detkit.structures import Detections, Target, WeightsSource
from detkit.weights.darknet.cfg import read_text
from detkit.weights.darknet.network import Darknet
from detkit.weights.darknet.outputs import Grid, OutputLayer
from detkit.weights.darknet.weights_file import read_weights, write_weights

GRAPH_CANDIDATES = 5000
"""The most boxes of an image that enter suppression in an exported graph; darknet has no limit."""

GRAPH_DETECTIONS = 1000
"""The most detections of an image in an exported graph."""


class DarknetClassifier(nn.Module):
    """A network of darknet's files that outputs a vector, usually class probabilities.

    Args:
        network: the layers.
    """

    def __init__(self, network: Darknet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The output ``(B, K)`` for `images` ``(B, 3, H, W)``, RGB in [0, 1], of the size in ``[net]``."""
        output: Tensor = self.network(images)[0]
        return output.flatten(1)


class DarknetDetector(Detector):
    """A detector of darknet's files, run as darknet does: each class of a box with a sufficient score is a detection.

    It cannot be trained; `YOLOv1` to `YOLOv4` can.

    Args:
        network: the layers, with ``[yolo]``, ``[Gaussian_yolo]``, ``[region]`` or ``[detection]`` among them.
        score_threshold: detections of no greater score are dropped. Darknet evaluates with 0.005 and draws with 0.5,
            its fork with 0.25.
        nms_threshold: IoU above which the box of lower score of two boxes of a class is dropped.
        preprocess: None: `Letterbox` of the size in ``[net]``, for YOLOv1 `Stretch`.

    Raises:
        InputError: the output layers differ in classes, or the input is not RGB.
    """

    clips_boxes = False

    def __init__(
        self,
        network: Darknet,
        score_threshold: float = 0.005,
        nms_threshold: float = 0.45,
        preprocess: Preprocess | None = None,
    ) -> None:
        layers = network.output_layers()
        channels, *size = network.input_shape
        classes = {layer.classes for layer in layers}
        if len(classes) > 1 or channels != 3:
            raise InputError(
                f"the output layers of a detector have the same classes and its input 3 channels; these have "
                f"{sorted(classes)} and {channels}"
            )
        super().__init__(*classes)
        self.network = network
        # YOLOv1's own program does not keep the aspect ratio.
        stretches = any(isinstance(layer, Grid) for layer in layers)
        self.preprocess = preprocess or (Stretch if stretches else Letterbox)((size[0], size[1]))
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    def recipe(self) -> dict[str, Any]:
        """The config that builds this detector with its current settings, without the weights."""
        network = recipe_of(self.network, file="cfg")
        return recipe_of(self, network=network, preprocess=recipe_of(self.preprocess))

    def features(self, batch: Batch) -> list[Tensor]:
        """Darknet's outputs of the output layers, activated, ``(B, C, H, W)`` each."""
        outputs: list[Tensor] = self.network(batch.images)
        return outputs

    def heads(self, features: list[Tensor], context: Context) -> list[Tensor]:
        """The same: the output layers are part of the network."""
        return features

    def compute_losses(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target],
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Not supported: raises InputError."""
        raise InputError("a network of darknet's files has no losses; to train take YOLOv1 to YOLOv4 of detkit.models")

    def decode(self, raw: list[Tensor], context: Context) -> list[Detections]:
        """The detections per image in its own pixels, highest score first. Boxes are not clipped to the image."""
        detections = self._suppressed(raw, context, NMS(self.score_threshold, self.nms_threshold)).detections()
        return context.batch.restore(detections, cut=self.clips_boxes)

    def decode_padded(self, raw: list[Tensor], context: Context) -> dict[str, Tensor]:
        """As `decode`, but at most the best `GRAPH_DETECTIONS` of each image; not clipped to the image either."""
        limited = NMS(self.score_threshold, self.nms_threshold, GRAPH_CANDIDATES, GRAPH_DETECTIONS)
        return self._suppressed(raw, context, limited).outputs()

    def _suppressed(self, raw: list[Tensor], context: Context, select: NMS) -> PaddedBoxes:
        """The boxes that remain within each class, as of darknet's ``do_nms_sort``."""
        batch = context.batch
        candidates = [
            layer.candidates(output, batch.padded_size)
            for layer, output in zip(self.network.output_layers(), raw, strict=True)
        ]
        boxes = torch.cat([boxes for boxes, _ in candidates], dim=1)
        scores = torch.cat([scores for _, scores in candidates], dim=1)
        select = select.with_defaults(clip=None)
        image, location, labels, best = select.topk_candidates(scores)
        return select.suppress_padded(boxes[image, location], best, labels, image, batch.sizes)


# Any, not `DarknetClassifier`: which of the two a cfg describes is known to its user alone.
def from_darknet(cfg: str | Path, weights: str | Path | None = None, **options: Any) -> DarknetDetector | Any:
    """The network of a ``.cfg`` and a ``.weights`` file, with the same results as in darknet.

    Args:
        cfg: the file that describes the network.
        weights: the file with its weights, of any version; None: random weights.
        options: for a detector, such as ``score_threshold=0.25`` or ``preprocess=Stretch((608, 608))``, see
            `DarknetDetector`.

    Returns:
        A detector where the cfg has ``[yolo]``, ``[Gaussian_yolo]``, ``[region]`` or ``[detection]`` layers, else a
        classifier. Either is in evaluation mode.

    Raises:
        InputError: a file cannot be read, a layer or a value of the cfg is unknown, or the number of weights does not
            fit; the message gives line and layer. Or options are given for a classifier.
    """
    network = Darknet(read_text(cfg), str(cfg))
    if weights is not None:
        network.header = read_weights(weights, network.stored())
        vars(network)["weights_source"] = WeightsSource.of_file(f"darknet {Path(cfg).name}", weights)
    if isinstance(network.layers[network.answers[0]], OutputLayer):
        return DarknetDetector(network, **options).eval()
    if options:
        raise InputError(f"{cfg} is a classifier's, which does not have {', '.join(sorted(options))}")
    return DarknetClassifier(network).eval()


def to_darknet(model: DarknetDetector | DarknetClassifier, path: str | Path) -> None:
    """Write `path` as ``.cfg`` and as ``.weights``, with exactly the weights and the header that were read.

    Layers that the cfg excludes from loading (``dontload``, ``dontloadscales``) are in the written weights, and the
    written cfg no longer excludes them.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".cfg", ".weights") else path
    cfg = re.sub(r"(?m)^\s*dontload(scales)?\s*=.*\n?", "", model.network.cfg)
    with open_whole(f"{stem}.cfg") as text, open_whole(f"{stem}.weights") as file:  # both appear, or neither
        text.write(cfg.encode("utf-8", "surrogateescape"))
        text.flush()
        write_weights(file, model.network.header, model.network.stored())
