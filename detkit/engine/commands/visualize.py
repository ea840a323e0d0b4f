"""``detkit visualize``: what a network sees in an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import timm
import torch
import torchvision
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from detkit.backbones.catalog import source
from detkit.backbones.classifiers import OWN
from detkit.engine.checkpoint import checkpoint_path, load
from detkit.engine.commands.predict import named_device
from detkit.engine.config.parser import command_parser, parse
from detkit.errors import InputError
from detkit.images import find_inputs, read_image, to_tensor
from detkit.models import RCNN, Classifier, VisionModel
from detkit.preprocess import CenterCrop
from detkit.structures import Category
from detkit.tasks import task_of
from detkit.visualization import draw_detections, to_image_array, write_image
from detkit.visualization.attribution.attribution_target import AttributionTarget, ClassTarget, detection_target
from detkit.visualization.attribution.grad_cam import grad_cam
from detkit.visualization.attribution.named_layers import stage_layers
from detkit.visualization.attribution.occlusion import occlusion_sensitivity
from detkit.visualization.image_files import check_suffix
from detkit.visualization.views import draw_cam, draw_occlusion, draw_views, filter_views, network_input_image

logger = logging.getLogger(__name__)

_IMAGENET = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]

DESCRIPTION = """Show what a network sees in an image, as one picture.

It has the image with what the network says of it; Grad-CAM, where the network looks for that; occlusion
sensitivity, how sure it is with a gray square in each place; and, for the strongest filters of each stage, what
excites them, by a deconvolution network. Of several images, the first is looked at as a whole, and each filter
is shown with those that excite it most.

examples:
  tools/visualize.py --checkpoint runs/shapes/best.ckpt street.jpg --out views.jpg
  tools/visualize.py --trunk vgg16 --weights vgg16.pth dog.jpg --category 'golden retriever' --layers [features.28]"""


def visualize_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and write the picture."""
    usage = "--checkpoint CHECKPOINT | --trunk NAME [--weights FILE] IMAGE ... [--KEY VALUE ...]"
    parser = command_parser("visualize", usage, DESCRIPTION)
    add_arguments(parser)
    config = parse(parser, argv)
    if (config.checkpoint is None) == (config.trunk is None):
        raise InputError("Give either --checkpoint, or --trunk with the name of a net.")
    for key in ("count", "top", "batch_size"):
        if config[key] < 1:
            raise InputError(f"--{key} must be at least 1, got {config[key]}.")
    check_suffix(config.out)
    images = [to_tensor(read_image(path)) for path in find_inputs(config.inputs)]
    model = _model(config)
    if "boxes" in task_of(model).parts:
        _visualize_object(model, images, config)
    elif isinstance(model, Classifier):
        _visualize_class(model, images, config)
    else:
        name = type(model).__name__
        raise InputError(f"What the {name} says cannot be visualized: boxes and a Classifier's classes can.")
    logger.info("wrote %s", config.out)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", type=str, nargs="+", help="images, folders, glob patterns")
    parser.add_argument("--checkpoint", type=str | None, help="a checkpoint, or a run's folder")
    parser.add_argument("--trunk", type=str | None, help="instead: a classification net of torchvision, timm or detkit")
    parser.add_argument("--weights", type=str | None, help="of the trunk: a file, or DEFAULT for the published ones")
    parser.add_argument("--out", type=str, default="views.png", help="the picture to write")
    parser.add_argument("--category", type=str | None, help="the class to look at; the most likely one if not given")
    parser.add_argument("--layers", type=list[str] | None, help="layers to look at; each stage's last if not given")
    parser.add_argument("--filters", type=list[int] | None, help="filters of each layer; the strongest if not given")
    parser.add_argument("--count", type=int, default=8, help="the most filters of a layer")
    parser.add_argument("--top", type=int, default=9, help="the most images of a filter")
    parser.add_argument("--square", type=int | None, help="side of the gray square in pixels; a fifth if not given")
    parser.add_argument("--step", type=int | None, help="pixels that it moves by; half of its side if not given")
    parser.add_argument("--batch_size", type=int, default=16, help="images that pass through the network at once")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="a package whose classes a checkpoint may name"
    )


def _model(config: Namespace) -> VisionModel:
    device = named_device(config.device)
    if config.trunk is None:
        return load(checkpoint_path(config.checkpoint), device, config.trust)
    model = Classifier(config.trunk, len(_IMAGENET), config.weights)
    if config.trunk not in OWN:
        model.preprocess = _published_preprocess(config.trunk)
    model.categories = [Category(label, name) for label, name in enumerate(_IMAGENET)]
    return model.to(device).eval()


def _visualize_class(model: Classifier, images: Sequence[Tensor], config: Namespace) -> None:
    # What the network sees of an image is the image from here on.
    images = [to_tensor(network_input_image(model.preprocess, model.preprocess([image]))) for image in images]
    label = _label(config.category, model) if config.category else int(model.predict(images[0]).labels[0])
    subject = ClassTarget(model, label)
    caption = _caption(subject.scores(images[0][None].float() / 255)[0], model.categories[label])
    _write(subject, images, to_image_array(images[0]), caption, config)


def _visualize_object(model: VisionModel, images: Sequence[Tensor], config: Namespace) -> None:
    if isinstance(model, RCNN) and len(images) > 1:
        raise InputError(f"An R-CNN's trunk sees one box at a time: give one image, not {len(images)}.")
    found = model.predict(images[0])
    if config.category:
        found = found[found.labels == _label(config.category, model)]
    if len(found) == 0:
        what = f"no {config.category}" if config.category else "nothing"
        raise InputError(f"{config.checkpoint} finds {what} in {config.inputs[0]}: give another image or category.")
    label = int(found.labels[0])
    picture = draw_detections(images[0], found[:1], model.categories, score_threshold=0.0)
    caption = _caption(found.scores[0], model.categories[label])
    _write(detection_target(model, found.boxes[0], label), images, picture, caption, config)


def _write(
    subject: AttributionTarget, images: Sequence[Tensor], picture: np.ndarray, caption: str, config: Namespace
) -> None:
    """Look at everything and write the picture."""
    device = next(subject.network.parameters()).device
    with torch.no_grad():
        batches = [subject.prepare(image.to(device)) for image in images]
    first = batches[0]
    layers = config.layers or stage_layers(subject.network, first.images, subject.forward, subject.backbone)
    stages = filter_views(subject, batches, layers, config.filters, config.count, config.top)
    cam = grad_cam(subject.network, layers[-1], lambda: subject.objective(images[0].to(device)), first.padded_size)
    side = config.square or max(1, min(images[0].shape[-2:]) // 5)
    step = config.step or max(1, side // 2)
    hidden = occlusion_sensitivity(subject.scores, images[0].to(device), side, step, config.batch_size)
    low, high = hidden.pixels.aminmax()
    panels = {
        caption: picture,
        f"Grad-CAM at {layers[-1]}": draw_cam(subject, first, cam),
        f"with a gray square there: {low:.2f} (blue) to {high:.2f} (red)": draw_occlusion(
            to_image_array(images[0]), hidden
        ),
    }
    write_image(config.out, draw_views(panels, stages))


def _caption(score: Tensor, category: Category) -> str:
    return f"{category.name}, {float(score):.2f}"


def _label(name: str, model: VisionModel) -> int:
    names = [category.name for category in model.categories]
    if name not in names:
        close = get_close_matches(name, names, n=4, cutoff=0.3)
        raise InputError(f"--category: there is no class {name!r}; close to it: {', '.join(close) or 'none'}.")
    return names.index(name)


def _published_preprocess(name: str) -> CenterCrop:
    """What the published weights of a net of torchvision or timm are made for."""
    if source(name) == "timm":
        published = timm.get_pretrained_cfg(name)
        side, mean, std = published.input_size[-1], published.mean, published.std
    else:
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        side, mean, std = preset.crop_size[0], preset.mean, preset.std
    return CenterCrop((side, side), round(side * 256 / 224), mean, std)
