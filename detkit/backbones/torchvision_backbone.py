"""`TorchvisionBackbone`: any torchvision classification network that is a chain of blocks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from detkit.backbones.backbone import Backbone, freeze
from detkit.backbones.dilation import Sampling, multi_grid_samplings, resample_, samplings
from detkit.backbones.frozen_batch_norm import freeze_batch_norm, set_batch_norm_epsilon
from detkit.backbones.pretrained import LoadReport, download, load_matching, read_state_dict
from detkit.backbones.published import torchvision_file
from detkit.backbones.weights_sources import classifier_source
from detkit.errors import InputError

# The children after the features, by torchvision's names.
CLASSIFIER = {"avgpool", "classifier", "fc", "head", "heads", "dropout", "flatten", "AuxLogits", "aux1", "aux2"}


class TorchvisionBackbone(Backbone):
    """A torchvision classification network without its classifier, which returns the maps of selected stages.

    Stage ``n`` is the last block whose output has stride ``2^n``: for ResNets, stages 2 to 5 are the papers' C2 to C5.
    Parameters keep torchvision's names below ``trunk.``.

    Args:
        name: any name of ``torchvision.models.list_models(module=torchvision.models)`` that is a chain of blocks
            and takes images of any size.
        weights: None for random weights, ``DEFAULT`` for torchvision's best, or the path of a weights file with
            torchvision's names.
        stages: the stages to return, finest first; None: all from 2 (stride 4) on.
        frozen_stages: blocks with stride up to ``2^frozen_stages`` are not trained; 0 trains all.
        frozen_batch_norm: use batch norm with its stored statistics, not trained.
        blocks: instead of `stages`, torchvision's names of the blocks to return, in their order, such as
            ``features.13``; several may have the same stride.
        stride_in_1x1: the bottlenecks of a ResNet have their stride in the first 1x1 convolution instead of the 3x3, as
            in the original weights (He 2015).
        batch_norm_epsilon: of all batch norms, as the weights of torchvision's detectors were trained with; None: that
            of the network.
        output_stride: the largest stride of a map, 8 or 16: later strides are 1, and the convolutions after them are
            dilated, with the same weights. Stages keep their numbers: stage 5 is C5. None: that of the network.
        multi_grid: of a ResNet, factors of the dilation in the units of its last stage, ``(1, 2, 4)`` in DeepLabv3.

    Attributes:
        load_report: what was loaded from a weights file, or None.
        returned_blocks: torchvision's names of the blocks whose maps are returned.

    Raises:
        InputError: unknown name, stage or block, a network that is not a chain of blocks, a weights file that does not
            fit, a negative epsilon, or a network that cannot have this output stride or multi-grid.
    """

    trunk: Any  # torchvision's network, a module of many types

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        stages: Sequence[int] | None = None,
        frozen_stages: int = 0,
        frozen_batch_norm: bool = False,
        blocks: Sequence[str] | None = None,
        stride_in_1x1: bool = False,
        batch_norm_epsilon: float | None = None,
        output_stride: int | None = None,
        multi_grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if batch_norm_epsilon is not None and not batch_norm_epsilon >= 0:
            raise InputError(f"batch_norm_epsilon must not be negative, got {batch_norm_epsilon}")
        skeleton = _skeleton(name)
        chain = _feature_blocks(name, skeleton)
        returned = _at_end_of_stages(name, chain, stages) if blocks is None else _named(name, chain, blocks)
        chain = chain[: chain.index(returned[-1]) + 1]
        self._block_names = [block.name for block in chain]
        self.returned_blocks = [block.name for block in returned]
        self._channels_last = {block.name for block in returned if block.channels_last}
        self.channels = [block.channels for block in returned]
        self.strides = [2**block.stage for block in returned]
        if stride_in_1x1:
            move_strides_to_1x1(skeleton)
        dilated = _dilated(skeleton, output_stride, multi_grid)
        if dilated:
            strides = {block.name: 2**block.stage for block in _feature_blocks(name, skeleton)}
            self.strides = [strides[block.name] for block in returned]
        if output_stride is not None and max(self.strides) > output_stride:
            raise InputError(f"{name} has no convolutions that could be dilated for output_stride {output_stride}")
        self.load_report: LoadReport | None = None
        self.trunk = self._build(name, weights)
        self.weights_source = None if weights is None else classifier_source(name, weights)
        # Without weights too: a checkpoint, which is rebuilt without them, needs the pixels that it was trained on.
        self._transform_input = transform_inputs(self.trunk)
        if stride_in_1x1:
            move_strides_to_1x1(self.trunk)
        resample_(self.trunk, dilated)
        if frozen_batch_norm:
            self.trunk = freeze_batch_norm(self.trunk)
        if batch_norm_epsilon is not None:
            set_batch_norm_epsilon(self.trunk, batch_norm_epsilon)
        for block in chain:
            if frozen_stages and block.stage <= frozen_stages:
                freeze(self.trunk.get_submodule(block.name).parameters())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the selected stages of `images` ``(B, 3, H, W)``, finest first."""
        x = self.trunk._transform_input(images) if self._transform_input else images
        features = []
        for name in self._block_names:
            x = self.trunk.get_submodule(name)(x)
            if name in self.returned_blocks:
                features.append(x.permute(0, 3, 1, 2) if name in self._channels_last else x)
        return features

    def _build(self, name: str, weights: str | None) -> nn.Module:
        published = weights == "DEFAULT"
        net = published_net(name) if published else create_net(name)
        _keep_only(net, self._block_names)
        if weights is not None and not published:
            self.load_report = load_matching(net, read_state_dict(weights), source=str(weights))
        return net


class _Block(NamedTuple):
    """A block of the chain: its name in the network, and its output."""

    name: str
    stage: int
    channels: int
    channels_last: bool  # Swin passes (B, H, W, C) between its stages

    @classmethod
    def from_output(cls, name: str, output: Tensor) -> _Block | None:
        """The block with that output; None if it has no stride that is a power of two."""
        channels_last = output.shape[1:3] in _EXACT_SIZES
        stage = _stage(output.shape[1:3] if channels_last else output.shape[2:])
        return None if stage is None else cls(name, stage, output.shape[3 if channels_last else 1], channels_last)


def _at_end_of_stages(name: str, chain: list[_Block], stages: Sequence[int] | None) -> list[_Block]:
    """The last block of each of `stages`, finest first."""
    ends = {block.stage: block for block in chain}
    stages = sorted(set(stages)) if stages is not None else sorted(stage for stage in ends if stage >= 2)
    unknown = [stage for stage in stages if stage not in ends]
    if unknown or not stages:
        raise InputError(f"{name} has no stages {unknown}: it has {list(ends)} (stage n has stride 2^n)")
    return [ends[stage] for stage in stages]


def _named(name: str, chain: list[_Block], names: Sequence[str]) -> list[_Block]:
    """The blocks called `names`, in the order of the chain."""
    known = [block.name for block in chain]
    unknown = [block_name for block_name in names if block_name not in known]
    if unknown or not names:
        raise InputError(f"{name} has no blocks {unknown}: it has {', '.join(known)}")
    return [block for block in chain if block.name in names]


# The width is three times the height, so that (B, C, H, W) cannot be mistaken for (B, H, W, C).
_PROBE_SIZE = (512, 1536)
_EXACT_SIZES = [(512 >> stage, 1536 >> stage) for stage in range(7)]


def _stage(size: Sequence[int]) -> int | None:
    """The n for which `size` is about the probe size at stride 2^n, or None; less where a network does not pad."""
    stages = {round(math.log2(probe / max(cells, 1))) for probe, cells in zip(_PROBE_SIZE, size, strict=True)}
    return stages.pop() if len(stages) == 1 and max(stages) <= 6 else None


def _feature_blocks(name: str, net: nn.Module) -> list[_Block]:
    """The chain of blocks of torchvision's network `name`, recorded in one forward pass of `net` without data."""
    outputs: list[tuple[str, Tensor, Tensor]] = []

    def record(block_name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: outputs.append((block_name, inputs[0], output))

    names = _block_names(net)
    hooks = [net.get_submodule(block_name).register_forward_hook(record(block_name)) for block_name in names]
    try:
        net(_probe())
    except Exception as error:
        raise InputError(f"{name} does not take images of any size, choose another backbone: {error}") from error
    for hook in hooks:
        hook.remove()
    links = pairwise(outputs)
    is_chain = bool(outputs) and all(before is after_input for (_, _, before), (_, after_input, _) in links)
    if not is_chain or any(output.ndim != 4 for _, _, output in outputs):
        raise InputError(f"{name} is not a chain of blocks with feature maps: choose another backbone, or timm's")
    blocks = [_Block.from_output(block_name, output) for block_name, _, output in outputs]
    return [block for block in blocks if block is not None]


def _probe() -> Tensor:
    return torch.empty(1, 3, *_PROBE_SIZE, device="meta")


def _dilated(skeleton: nn.Module, output_stride: int | None, multi_grid: Sequence[int] | None) -> dict[str, Sampling]:
    """What convolutions get for that output stride and multi-grid, set in `skeleton` too."""
    found = {} if output_stride is None else samplings(skeleton, _probe(), output_stride)
    if multi_grid is not None:
        found |= multi_grid_samplings(skeleton, multi_grid, output_stride or 32)
    resample_(skeleton, found)
    return found


def _skeleton(name: str) -> nn.Module:
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = get_close_matches(name, names, n=3, cutoff=0.4)
        raise InputError(f"torchvision has no classification net {name!r}; close to it: {', '.join(close) or 'none'}")
    try:
        with torch.device("meta"):
            return create_net(name).eval()
    except NotImplementedError:  # RegNets compute their widths with tensors, which the meta device cannot
        return create_net(name).eval().to("meta")


def create_net(name: str, **options: Any) -> nn.Module:
    """torchvision's classification network `name`, made with `options`, without GoogLeNet's and Inception's warning."""
    with warnings.catch_warnings():
        # They announce that a later release may initialize them differently.
        warnings.filterwarnings("ignore", message="The default weight initialization", category=FutureWarning)
        net: nn.Module = torchvision.models.get_model(name, **options)
    return net


def published_net(name: str) -> nn.Module:
    """torchvision's classification network `name` with its best published weights.

    Raises:
        InputError: they cannot be downloaded.
    """
    return download(name, partial(create_net, name, weights="DEFAULT"), torchvision_file(name))


def transform_inputs(net: Any) -> bool:
    """Let GoogLeNet and Inception map pixels to [-1, 1], on which their published weights were trained.

    Returns:
        Whether `net` is one of them.
    """
    is_affected = hasattr(net, "transform_input")
    if is_affected:
        net.transform_input = True
    return is_affected


def move_strides_to_1x1(net: nn.Module) -> None:
    """Move the stride of every bottleneck of `net` from the 3x3 to the first 1x1 convolution.

    Raises:
        InputError: there is no bottleneck.
    """
    bottlenecks = [block for block in net.modules() if isinstance(block, torchvision.models.resnet.Bottleneck)]
    if not bottlenecks:
        raise InputError(
            "stride_in_1x1 is for ResNets of 50 layers and more: only they have 1x1 convolutions to halve in"
        )
    for block in bottlenecks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _block_names(net: nn.Module) -> list[str]:
    """The names of the children before the classifier, with the children of plain sequences in their place."""
    names = []
    for child_name, child in net.named_children():
        if child_name in CLASSIFIER:
            continue
        opened = isinstance(child, nn.Sequential) and len(child) > 1 and type(child).forward is nn.Sequential.forward
        names += [f"{child_name}.{inner}" for inner, _ in child.named_children()] if opened else [child_name]
    return names


def _keep_only(net: nn.Module, block_names: Sequence[str]) -> None:
    """Delete the children of `net` that are not among `block_names` or on the way to one."""
    kept = set(block_names) | {name.split(".")[0] for name in block_names}
    for child_name, child in list(net.named_children()):
        if child_name not in kept:
            delattr(net, child_name)
        elif child_name not in block_names:
            for inner in [inner for inner, _ in child.named_children() if f"{child_name}.{inner}" not in kept]:
                del child._modules[inner]
