"""Find the layers of a network by name, and record their outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from detkit.errors import InputError

# The modules of torchvision's and timm's networks whose outputs are no feature maps any more.
_CLASSIFIER = {"avgpool", "global_pool", "classifier", "classes", "fc", "head", "heads", "aux1", "aux2", "AuxLogits"}
_COARSEST = 6  # stages: strides up to 64


def get_layer(network: nn.Module, name: str) -> nn.Module:
    """The layer `name` of `network`, as ``named_modules`` calls it.

    Raises:
        InputError: there is none; the message lists similar names.
    """
    layers = dict(network.named_modules())
    if name and name in layers:
        return layers[name]
    close = get_close_matches(name, [known for known in layers if known], n=4, cutoff=0.3)
    raise InputError(f"{type(network).__name__} has no layer {name!r}; close to it: {', '.join(close) or 'none'}")


def stage_layers(
    network: nn.Module, images: Tensor, forward: Callable[[Tensor], object] | None = None, within: str = ""
) -> list[str]:
    """The last block at each resolution that `network` goes through, by name, finest first.

    Found by watching one pass. A block is a layer that gives a map ``(B, C, H, W)``, or ``(B, H, W, C)`` as
    transformers have it; a layer that goes through more than two resolutions is split up. Layers of the classifier do
    not count.

    Args:
        network: any network.
        images: ``(1, 3, H, W)``, as the network takes them.
        forward: runs the network on `images`; the network itself if not given.
        within: only the layers inside this one, such as a detector's ``backbone``.

    Raises:
        InputError: no layer gives a map.
    """
    stages: dict[str, int] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple, output: object) -> None:
            stage = _stage(output, images.shape[-2:]) if isinstance(output, Tensor) else None
            if stage is not None:
                stages.setdefault(name, stage)

        return note

    inside = f"{within}." if within else ""
    names = [name for name, _ in network.named_modules() if name.startswith(inside) and name]
    watched = [name for name in names if _CLASSIFIER.isdisjoint(name.removeprefix(inside).split("."))]
    handles = [network.get_submodule(name).register_forward_hook(watch(name)) for name in watched]
    try:
        with torch.no_grad(), eval_mode(network):
            (forward or network)(images)
    finally:
        for handle in handles:
            handle.remove()
    last = {stages[name]: name for name in _blocks(stages)}
    if not last:
        raise InputError(f"no layer of {type(network).__name__} gives a map (B, C, H, W) of the image: name one")
    return [last[stage] for stage in sorted(last)]


def _blocks(stages: dict[str, int]) -> list[str]:
    """The outermost of the layers with maps that go through one or two stages, in the order in which they ended."""
    resolutions: dict[str, set[int]] = {name: {stage} for name, stage in stages.items()}
    for name, stage in stages.items():
        for outer in _outer(name):
            resolutions.get(outer, set()).add(stage)
    small = {name for name, reached in resolutions.items() if len(reached) <= 2}
    return [name for name in stages if name in small and small.isdisjoint(_outer(name))]


def _outer(name: str) -> list[str]:
    """The names of the layers around a layer."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _stage(output: Tensor, size: Sequence[int]) -> int | None:
    """The n of a map that has stride ``2^n``, about, in an image of `size`; None if `output` is no such map."""
    if output.ndim != 4 or len(output) != 1:
        return None
    cells = output.shape[1:3] if _channels_last(output, size) else output.shape[2:]
    stages = {round(math.log2(pixels / max(1, count))) for pixels, count in zip(size, cells, strict=True)}
    fits = len(stages) == 1 and 0 <= min(stages) <= _COARSEST and math.prod(cells) > 1
    return stages.pop() if fits else None


def _channels_last(output: Tensor, size: Sequence[int]) -> bool:
    """Whether a map of an image of `size` is ``(B, H, W, C)``."""

    def misfit(cells: Sequence[int]) -> float:
        return abs(math.log((cells[0] * size[1]) / max(1, cells[1] * size[0])))

    return misfit(output.shape[1:3]) + 0.1 < misfit(output.shape[2:])


class LayerMaps:
    """The maps of some layers in one pass; of a layer that is called several times, the first.

    Args:
        layers: their names.
        size: (height, width) of the images.
    """

    def __init__(self, layers: Sequence[str], size: Sequence[int]) -> None:
        self.layers = list(layers)
        self.size = tuple(size)
        self._outputs: dict[str, Tensor] = {}

    def outputs(self) -> list[Tensor]:
        """The output of each layer, in its own layout.

        Raises:
            InputError: an output is no map, or a layer was not called.
        """
        for name in self.layers:
            output = self._outputs.get(name)
            if output is None or output.ndim != 4:
                what = f"gives {tuple(output.shape)}" if output is not None else "gives no tensor in this pass"
                raise InputError(f"layer {name!r} {what}, not a map (B, C, H, W): name a layer of the backbone")
        return [self._outputs[name] for name in self.layers]

    def as_map(self, output: Tensor) -> Tensor:
        """`output` as ``(B, C, H, W)``."""
        return output.permute(0, 3, 1, 2) if _channels_last(output, self.size) else output

    def keep(self, name: str, output: object) -> Tensor | None:
        """Record the output of layer `name`; returns a copy that replaces it.

        It is a copy because a later layer may change it in place. Gradients start here where nothing before the layer
        requires them.
        """
        if name in self._outputs or not isinstance(output, Tensor):
            return None
        if torch.is_grad_enabled() and not output.requires_grad:
            output = output.detach().requires_grad_()
        self._outputs[name] = output
        return output.clone()


@contextmanager
def record_layers(network: nn.Module, layers: Sequence[str], size: Sequence[int]) -> Iterator[LayerMaps]:
    """Record the maps of `layers` while `network` runs on images of `size` (height, width).

    Raises:
        InputError: a layer that the network does not have.
    """
    maps = LayerMaps(layers, size)
    handles = []
    try:
        for name in maps.layers:
            hook = lambda module, inputs, output, name=name: maps.keep(name, output)  # noqa: E731
            handles.append(get_layer(network, name).register_forward_hook(hook))
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """`network` in evaluation mode; afterwards each module has its former mode."""
    in_training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
