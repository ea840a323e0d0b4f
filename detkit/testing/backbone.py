"""The contract of a backbone, as a check."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detkit.geometry import Size
from detkit.testing.contract import check_pickles, check_tensors_are_registered, deep_copy, is_close, no_error, require

_CELLS = 1.0  # by which the sizes of maps may differ from the stride's, for rounding at the border


def check_backbone(
    backbone: nn.Module, image_sizes: Sequence[Size] = ((97, 131), (225, 259)), batch_size: int = 2
) -> None:
    """Hold a backbone to its contract: ``(B, 3, H, W)`` to a list of maps, finest first, as announced.

    It is left as it is: the check works on a copy. A neck is held to it through a backbone that carries it.

    Args:
        backbone: of your own class, on the CPU, in either mode.
        image_sizes: (height, width) of images that it must take, at least one; of odd sizes unless it cannot.
        batch_size: images in a batch, at least two.

    Raises:
        ContractError: a rule is broken; the message says which.
    """
    owner = type(backbone).__name__
    require(isinstance(backbone, nn.Module), f"a backbone is a torch.nn.Module: got {owner}, derive it from Backbone")
    channels, strides = _announced(backbone, owner)
    check_tensors_are_registered(backbone, owner)
    net = deep_copy(backbone, owner).eval()
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(batch_size, 3, *size, generator=generator) for size in image_sizes]
    images = batches[0]
    all_maps = [_maps(net, batch, channels, owner) for batch in batches]
    _check_sizes(all_maps, image_sizes, strides, owner)
    _check_images_alone(net, images, all_maps[0], owner)
    _check_no_images(net, images, channels, owner)
    _check_gradients(net, images, owner)
    _check_half_precision(net, images, all_maps[0], owner)
    _check_state(net, images, all_maps[0], owner)
    _check_training(backbone, images, all_maps[0], owner)


def _announced(backbone: Any, owner: str) -> tuple[list[int], list[float]]:
    """The channels and strides that are known before any forward."""
    for name in ("channels", "strides"):
        value = getattr(backbone, name, None)
        numbers = int if name == "channels" else (int, float)
        is_list = isinstance(value, list) and len(value) > 0
        require(
            is_list and all(isinstance(one, numbers) and one > 0 for one in value or ()),
            f"{owner}.{name} must be a list of positive numbers, one for each map, before any forward: got {value!r}, "
            "set it in __init__",
        )
    channels, strides = backbone.channels, backbone.strides
    require(
        len(channels) == len(strides),
        f"{owner} announces {len(channels)} channels and {len(strides)} strides: give one of each for every map",
    )
    require(
        strides == sorted(strides),
        f"{owner}.strides must begin with the finest map: got {strides}, give maps and strides in ascending order",
    )
    return channels, strides


def _maps(net: nn.Module, images: Tensor, channels: Sequence[int], owner: str) -> list[Tensor]:
    """The maps of `images`, each as announced."""
    before = images.clone()
    with torch.no_grad(), no_error(f"{owner}(images {tuple(images.shape)})", "it must take images of any size"):
        maps: Any = net(images)
    require(
        torch.equal(images, before),
        f"{owner} changes the images that it is given: use no in-place operation on its input",
    )
    got = type(maps).__name__
    require(isinstance(maps, list), f"{owner} must return a list of maps: got {got}, return a list even of one map")
    require(
        len(maps) == len(channels),
        f"{owner} announces {len(channels)} maps and returns {len(maps)}: let channels and strides name each of them",
    )
    typed: list[Tensor] = maps
    for index, (one, count) in enumerate(zip(typed, channels, strict=True)):
        shape = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
        fits = isinstance(one, Tensor) and one.ndim == 4 and one.shape[:2] == (len(images), count)
        require(
            fits,
            f"{owner}: map {index} must be ({len(images)}, {count}, H, W), by channels[{index}]: got {shape}",
        )
        finite = bool(one.isfinite().all())
        require(finite, f"{owner}: map {index} holds values that are not finite for images in [0, 1]")
    return typed


def _check_sizes(
    all_maps: Sequence[Sequence[Tensor]], sizes: Sequence[Size], strides: Sequence[float], owner: str
) -> None:
    """Maps grow with the image by the stride, and have no more cells than it allows."""
    for maps, size in zip(all_maps, sizes, strict=True):
        for index, (one, stride) in enumerate(zip(maps, strides, strict=True)):
            for cells, pixels in zip(one.shape[-2:], size, strict=True):
                require(
                    0 < cells < pixels / stride + _CELLS + 1,
                    f"{owner}: map {index} has {cells} cells for {pixels} pixels, which does not go with its stride "
                    f"{stride:g}: correct strides[{index}]",
                )
    for (small, low), (large, high) in itertools.pairwise(zip(all_maps, sizes, strict=True)):
        for index, stride in enumerate(strides):
            for axis in (0, 1):
                grown = large[index].shape[axis + 2] - small[index].shape[axis + 2]
                expected = (high[axis] - low[axis]) / stride
                require(
                    abs(grown - expected) <= _CELLS,
                    f"{owner}: map {index} grows by {grown} cells where the image grows by {high[axis] - low[axis]} "
                    f"pixels, which is {expected:g} cells of stride {stride:g}: correct strides[{index}]",
                )


def _check_images_alone(net: nn.Module, images: Tensor, maps: Sequence[Tensor], owner: str) -> None:
    with torch.no_grad():
        again, alone = net(images), net(images[:1])
    require(
        all(is_close(one, other) for one, other in zip(again, maps, strict=True)),
        f"{owner} gives other maps for the same images in eval mode: let randomness depend on self.training",
    )
    scale = max(1.0, max(float(one.abs().max()) for one in maps))
    same = all(is_close(one, other[:1], atol=1e-4 * scale) for one, other in zip(alone, maps, strict=True))
    require(
        same,
        f"{owner}: in eval mode the maps of an image depend on the others of its batch: compute nothing across the "
        "batch (BatchNorm takes its running statistics in eval mode)",
    )


def _check_no_images(net: nn.Module, images: Tensor, channels: Sequence[int], owner: str) -> None:
    with torch.no_grad(), no_error(f"{owner} of no images", "a batch of 0 is a batch: R-CNN's has no regions at times"):
        maps = net(images[:0])
    shapes = [tuple(one.shape[:2]) for one in maps]
    expected = [(0, count) for count in channels]
    require(shapes == expected, f"{owner} of no images must return maps (0, C, H, W): got {shapes} for {expected}")


def _check_gradients(net: nn.Module, images: Tensor, owner: str) -> None:
    net = deep_copy(net, owner)
    given = images.clone().requires_grad_()
    maps = net(given)
    for index, one in enumerate(maps):
        reached = None
        if one.requires_grad:
            (reached,) = torch.autograd.grad(one.float().square().sum(), given, retain_graph=True, allow_unused=True)
        require(
            reached is not None and bool((reached.flatten(1).abs().sum(dim=1) > 0).all()),
            f"{owner}: no gradient of map {index} reaches the image: use no detach or no_grad on the way (frozen "
            "parameters have requires_grad=False)",
        )
    torch.autograd.backward([one.float().square().sum() for one in maps])
    lost = [name for name, one in net.named_parameters() if one.requires_grad and one.grad is None]
    require(
        not lost,
        f"{owner}: no gradient reaches {', '.join(lost[:3])}: remove what no map depends on, or freeze it with "
        "requires_grad_(False) (DDP waits for the gradient of every trainable parameter)",
    )


def _check_half_precision(net: nn.Module, images: Tensor, maps: Sequence[Tensor], owner: str) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), no_error(
        f"{owner} under torch.autocast in bfloat16", "let it cast what it makes itself to the dtype of its input"
    ):  # fmt: skip
        half = net(images)
    shapes, expected = [one.shape for one in half], [one.shape for one in maps]
    require(shapes == expected, f"{owner} gives maps of other shapes under torch.autocast: {shapes} for {expected}")
    require(
        all(bool(one.isfinite().all()) for one in half),
        f"{owner} gives values that are not finite in bfloat16: compute what overflows in float32",
    )


def _check_state(net: nn.Module, images: Tensor, maps: Sequence[Tensor], owner: str) -> None:
    """Weights go through a file, the module through pickle."""
    other = check_pickles(net, owner, "worker processes and checkpoints pickle models")
    file = io.BytesIO()
    with no_error(f"{owner}: saving its state_dict and loading it with weights_only", "keep plain tensors in it"):
        torch.save(net.state_dict(), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    with no_error(f"{owner}.load_state_dict of its own state_dict", "let both have the same keys"):
        other.load_state_dict(state)
    with torch.no_grad():
        restored = other(images)
    require(
        all(is_close(one, other) for one, other in zip(restored, maps, strict=True)),
        f"{owner} gives other maps after its state_dict was loaded again: hold all that it has learned in parameters "
        "and buffers",
    )


def _check_training(backbone: nn.Module, images: Tensor, maps: Sequence[Tensor], owner: str) -> None:
    net = deep_copy(backbone, owner).train()
    with no_error(f"{owner} in training mode", "both modes take the same images"):
        trained = net(images)
    shapes, expected = [tuple(one.shape) for one in trained], [tuple(one.shape) for one in maps]
    require(
        shapes == expected,
        f"{owner} returns maps {shapes} in training mode and {expected} in eval mode: let training change no shape",
    )
