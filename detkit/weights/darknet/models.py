"""Darknet's files as models, and models as darknet's files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detkit.config_of import recipe_of
from detkit.errors import InputError
from detkit.heads import NMS
from detkit.models import Detector
from detkit.preprocess import Letterbox, Preprocess, Stretch
from detkit.structures import Detections, Target
from detkit.weights.darknet.cfg import read_text, write_text
from detkit.weights.darknet.network import Darknet
from detkit.weights.darknet.outputs import Grid, OutputLayer
from detkit.weights.darknet.weights_file import read_weights, write_weights


class DarknetClassifier(nn.Module):
    """A darknet net that answers with numbers, mostly class probabilities.

    Args:
        network: the layers.
    """

    def __init__(self, network: Darknet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """What the last layer says ``(B, K)`` of `images` ``(B, 3, H, W)``, RGB in [0, 1], of the size of ``[net]``."""
        return self.network(images)[0].flatten(1)


class DarknetDetector(Detector):
    """A darknet net that answers with boxes, as darknet runs it: each class of a box that scores enough is a detection.

    It detects; `YOLOv1` to `YOLOv4` are there to be trained.

    Args:
        network: the layers, with ``[yolo]``, ``[Gaussian_yolo]``, ``[region]`` or ``[detection]`` among them.
        score_threshold: detections with no greater score are dropped. Darknet evaluates with 0.005 and draws with 0.5,
            the fork with 0.25.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        preprocess: places images in the network's input; None: `Letterbox` of the size in ``[net]``, for YOLOv1
            `Stretch`.

    Raises:
        InputError: the output layers differ in classes, or the input is not RGB.
    """

    def __init__(
        self,
        network: Darknet,
        score_threshold: float = 0.005,
        nms_threshold: float = 0.45,
        preprocess: Preprocess | None = None,
    ) -> None:
        answers = [network.layers[index] for index in network.answers]
        channels, *size = network.input_shape
        classes = {layer.classes for layer in answers}
        if len(classes) > 1 or channels != 3:
            raise InputError(
                f"the output layers of a detector have the same classes and its input 3 channels; these have "
                f"{sorted(classes)} and {channels}"
            )
        super().__init__(*classes)
        self.network = network
        # YOLOv1's own program does not keep the aspect.
        stretches = any(isinstance(layer, Grid) for layer in answers)
        self.preprocess = preprocess or (Stretch if stretches else Letterbox)((size[0], size[1]))
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold

    def recipe(self) -> dict[str, Any]:
        """The config that builds this detector, as it is now, without the weights."""
        network = recipe_of(self.network, file="cfg")
        return recipe_of(self, network=network, preprocess=recipe_of(self.preprocess))

    def raw(self, images: Tensor) -> list[Tensor]:
        """Darknet's outputs of the output layers, activated, ``(B, C, H, W)`` each.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1].
        """
        return self.network(images)

    def compute_losses(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target],
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """There are none: raises InputError."""
        raise InputError("a network of darknet's files has no losses; to train take YOLOv1 to YOLOv4 of detkit.models")

    def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> list[Detections]:
        """The detections of each image, in its own pixels, best first. Boxes may reach beyond the image."""
        batch = self.preprocess(images)
        found = [
            self.network.layers[index].candidates(output, batch.padded_size)
            for index, output in zip(self.network.answers, self.raw(batch.images), strict=True)
        ]
        boxes = torch.cat([boxes for boxes, _ in found], dim=1)
        scores = torch.cat([scores for _, scores in found], dim=1)
        # Within each class, as darknet's ``do_nms_sort``.
        select = NMS(self.score_threshold, self.nms_threshold).with_defaults(clip=None)
        image, place, labels, likely = select.topk_candidates(scores)
        detections = select.suppress(boxes[image, place], likely, labels, image, batch.sizes)
        return self.preprocess.restore(detections, batch, cut=False)


def from_darknet(
    cfg: str | Path, weights: str | Path | None = None, **options: Any
) -> DarknetDetector | DarknetClassifier:
    """The network of a ``.cfg`` with the numbers of a ``.weights``, giving what darknet gives.

    Args:
        cfg: the file that describes the network.
        weights: the file with its numbers, of any version; None leaves random ones.
        options: of a detector, such as ``score_threshold=0.25`` or ``preprocess=Stretch((608, 608))``, see
            `DarknetDetector`.

    Returns:
        A detector where the cfg has ``[yolo]``, ``[Gaussian_yolo]``, ``[region]`` or ``[detection]`` layers, else a
        classifier. Either is in evaluation mode.

    Raises:
        InputError: a file cannot be read, a layer or a value of the cfg is not known, or the weights are too
            many or too few; the message says in which line and layer. Or options are given for a classifier.
    """
    network = Darknet(read_text(cfg), str(cfg))
    if weights is not None:
        network.header = read_weights(weights, network.stored())
    if isinstance(network.layers[network.answers[0]], OutputLayer):
        return DarknetDetector(network, **options).eval()
    if options:
        raise InputError(f"{cfg} is a classifier's, which does not have {', '.join(sorted(options))}")
    return DarknetClassifier(network).eval()


def to_darknet(model: DarknetDetector | DarknetClassifier, path: str | Path) -> None:
    """Write `path` as ``.cfg`` and as ``.weights``, the latter with the bits and the header that were read.

    Where the cfg keeps layers from being loaded (``dontload``, ``dontloadscales``), the weights written have them and
    the cfg written does not say so any more.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".cfg", ".weights") else path
    cfg = re.sub(r"(?m)^\s*dontload(scales)?\s*=.*\n?", "", model.network.cfg)
    write_text(f"{stem}.cfg", cfg)
    write_weights(f"{stem}.weights", model.network.header, model.network.stored())
