"""Grad-CAM, occlusion sensitivity and filters of a network on an image, as ``detkit visualize`` draws them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

import numpy as np
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from detkit.backbones.catalog import source
from detkit.backbones.classifiers import OWN
from detkit.engine.checkpoint import load
from detkit.engine.commands.prediction.central_cameras import CentralCameras
from detkit.engine.commands.prediction.devices import named_device
from detkit.errors import InputError
from detkit.files import check_writable
from detkit.images import find_inputs, read_image, to_tensor
from detkit.models import RCNN, Classifier, Detector, SegmentationModel, VisionModel
from detkit.preprocess import CenterCrop
from detkit.structures import Category, SemanticMap, Target
from detkit.structures.image_fields import IGNORE_INDEX
from detkit.tasks import task_of
from detkit.visualization import draw_detections, to_image_array, write_image
from detkit.visualization.attribution.attribution_target import AttributionTarget, ClassTarget, detection_target
from detkit.visualization.attribution.grad_cam import grad_cam
from detkit.visualization.attribution.named_layers import stage_layers
from detkit.visualization.attribution.occlusion import occlusion_sensitivity
from detkit.visualization.attribution.pixel_class_target import PixelClassTarget
from detkit.visualization.image_files import check_suffix
from detkit.visualization.map_drawing import draw_label_map
from detkit.visualization.views import draw_cam, draw_occlusion, draw_views, filter_views, network_input_image

logger = logging.getLogger(__name__)

_IMAGENET = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]


@dataclass(frozen=True)
class VisualizationOptions:
    """The arguments of ``detkit visualize``."""

    inputs: list[str]
    checkpoint: str | None
    backbone: str | None
    weights: str | None
    out: str
    category: str | None
    layers: list[str] | None
    filters: list[int] | None
    count: int
    top: int
    square: int | None
    step: int | None
    batch_size: int
    device: str
    trust: list[str]


def visualize(options: VisualizationOptions) -> None:
    """Write the drawing.

    Raises:
        InputError: an option does not fit the model, or an input cannot be read.
    """
    _check_options(options)
    images = [to_tensor(read_image(path)) for path in find_inputs(options.inputs)]
    model = _model(options)
    if isinstance(model, SegmentationModel):  # also one that makes objects: components have no gradient
        _visualize_pixels(model, images, options)
    elif "boxes" in task_of(model).parts:
        _visualize_object(model, images, options)
    elif isinstance(model, Classifier):
        _visualize_class(model, images, options)
    else:
        name = type(model).__name__
        raise InputError(
            f"The answers of a {name} cannot be visualized: boxes, a Classifier's classes and a SegmentationModel's "
            "can."
        )
    logger.info("wrote %s", options.out)


def _check_options(options: VisualizationOptions) -> None:
    if (options.checkpoint is None) == (options.backbone is None):
        raise InputError("Give either --checkpoint, or --backbone with the name of a classification network.")
    for key in ("count", "top", "batch_size"):
        if getattr(options, key) < 1:
            raise InputError(f"--{key} must be at least 1, got {getattr(options, key)}.")
    check_suffix(options.out)
    check_writable(options.out)


def _model(options: VisualizationOptions) -> VisionModel:
    device = named_device(options.device)
    if options.checkpoint is not None:
        return load(options.checkpoint, device, options.trust)
    name = str(options.backbone)
    model = Classifier(name, len(_IMAGENET), options.weights)
    if name not in OWN:
        model.preprocess = _published_preprocess(name)
    model.categories = [Category(label, name) for label, name in enumerate(_IMAGENET)]
    return model.to(device).eval()


def _visualize_class(model: Classifier, images: Sequence[Tensor], options: VisualizationOptions) -> None:
    # From here on an image is what preprocessing leaves of it.
    images = [to_tensor(network_input_image(model.preprocess, model.preprocess([image]))) for image in images]
    label = _label(options.category, model) if options.category else int(model.predict(images[0]).labels[0])
    subject = ClassTarget(model, label)
    caption = _caption(subject.scores(images[0][None].float() / 255)[0], _categories(model)[label])
    _write(subject, images, to_image_array(images[0]), caption, options)


def _visualize_object(model: VisionModel, images: Sequence[Tensor], options: VisualizationOptions) -> None:
    if isinstance(model, RCNN) and len(images) > 1:
        raise InputError(f"An R-CNN's backbone takes one box at a time: give one image, not {len(images)}.")
    # A model whose answers have boxes detects, whatever its base class is.
    detector = cast(Detector, model)
    given = _given(model, images[0])
    detections = task_of(model).objects(detector.predict(images[0], given=given))
    if options.category:
        detections = detections[detections.labels == _label(options.category, model)]
    if len(detections) == 0:
        raise _finds_nothing(options)
    label, categories = int(detections.labels[0]), _categories(model)
    drawing = draw_detections(images[0], detections[:1], categories, score_threshold=0.0)
    caption = _caption(detections.scores[0], categories[label])
    _write(detection_target(detector, detections.boxes[0], label, given), images, drawing, caption, options)


def _given(model: VisionModel, image: Tensor) -> Target | None:
    """What a detector asks for with an image: any camera, on which neither boxes nor scores depend."""
    if not model.asks_for:
        return None
    if model.asks_for != {"camera"}:
        names = ", ".join(sorted(model.asks_for))
        raise InputError(
            f"The {type(model).__name__} asks for {names} of each image, which `detkit visualize` cannot give: explain "
            "its answers in Python, with detkit.visualization.grad_cam."
        )
    return CentralCameras(max(image.shape[-2:])).of("image", to_image_array(image))


def _visualize_pixels(model: SegmentationModel, images: Sequence[Tensor], options: VisualizationOptions) -> None:
    model.answer_as_graph_()  # what is explained is one pass through the network, without windows and views
    label_map = model.predict(images[0]).label_map
    found = SemanticMap(label_map).predicted_labels()
    label = _label(options.category, model) if options.category else next(iter(found), -1)
    if label not in found:
        raise _finds_nothing(options)
    subject, categories = PixelClassTarget(model, images[0], label), _categories(model)
    shown = torch.where(label_map == label, label_map, IGNORE_INDEX[label_map.dtype])
    caption = _caption(subject.scores(images[0][None].float() / 255)[0], categories[label])
    _write(subject, images, draw_label_map(images[0], shown, categories), caption, options)


def _finds_nothing(options: VisualizationOptions) -> InputError:
    what = f"no {options.category}" if options.category else "nothing"
    return InputError(f"{options.checkpoint} finds {what} in {options.inputs[0]}: give another image or category.")


def _write(
    subject: AttributionTarget,
    images: Sequence[Tensor],
    drawing: NDArray[np.uint8],
    caption: str,
    options: VisualizationOptions,
) -> None:
    """Compute all explanations and write them to one file."""
    device = next(subject.network.parameters()).device
    with torch.no_grad():
        batches = [subject.prepare(image.to(device)) for image in images]
    first = batches[0]
    layers = options.layers or stage_layers(subject.network, first.images, subject.forward, subject.backbone)
    stages = filter_views(subject, batches, layers, options.filters, options.count, options.top)
    cam = grad_cam(subject.network, layers[-1], lambda: subject.objective(images[0].to(device)), first.padded_size)
    side = options.square or max(1, min(images[0].shape[-2:]) // 5)
    step = options.step or max(1, side // 2)
    hidden = occlusion_sensitivity(subject.scores, images[0].to(device), side, step, options.batch_size)
    low, high = hidden.pixels.aminmax()
    panels = {
        caption: drawing,
        f"Grad-CAM at {layers[-1]}": draw_cam(subject, first, cam),
        f"with a gray square there: {low:.2f} (blue) to {high:.2f} (red)": draw_occlusion(
            to_image_array(images[0]), hidden
        ),
    }
    write_image(options.out, draw_views(panels, stages))


def _caption(score: Tensor, category: Category) -> str:
    return f"{category.name}, {float(score):.2f}"


def _categories(model: VisionModel) -> list[Category]:
    return model.categories or []


def _label(name: str, model: VisionModel) -> int:
    names = [category.name for category in _categories(model)]
    if name not in names:
        close = get_close_matches(name, names, n=4, cutoff=0.3)
        raise InputError(f"--category: there is no class {name!r}; close to it: {', '.join(close) or 'none'}.")
    return names.index(name)


def _published_preprocess(name: str) -> CenterCrop:
    """The preprocessing that published weights of torchvision or timm were trained with."""
    if source(name) == "timm":
        published = timm.get_pretrained_cfg(name)
        if published is None:
            raise InputError(f"timm does not state the preprocessing of {name}: give a --checkpoint that has one.")
        side, mean, std = published.input_size[-1], published.mean, published.std
    else:
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        side, mean, std = preset.crop_size[0], preset.mean, preset.std
    return CenterCrop((side, side), round(side * 256 / 224), mean, std)
