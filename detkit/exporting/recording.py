"""Recording a model as a graph of `torch.export`, for any number of images and, where it takes them, of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_leaves

from detkit.errors import InputError, first_line
from detkit.exporting.exported_graph import ExportedGraph
from detkit.exporting.precisions.float16 import WithFloat32Ends, in_float16, in_float32
from detkit.exporting.score_thresholds import ScoreThresholds
from detkit.geometry import Size
from detkit.models import Raw, VisionModel
from detkit.preprocess import Batch

SAMPLE_SIZE = (480, 640)
"""Height and width of the image whose preprocessed size is that of a raw graph where none is given."""

TRACED_SIZE = (640, 832)
"""Least height and width of the traced batch of any size: sides that differ, with several cells of the coarsest map."""

_SIDES = {
    "images": ("batch", "channels", "height", "width"),
    "sizes": ("batch", "sides"),
    "proposals": ("batch", "proposals", "corners"),
}
"""What the sides of each input are called."""


@dataclass(frozen=True)
class Recorded:
    """A model as a graph.

    Args:
        model: the model that was recorded.
        module: what was recorded of it, `ExportedGraph` or `Raw`; gives the same outputs as the graph.
        program: the graph.
        inputs: an example of each input by its name, of two images.
        outputs: names of the outputs, in their order.
        raw: whether decoding and suppression are left out.
        reference: the same in float32, whose outputs those of a file are compared with; `module` unless it is in
            float16.
    """

    model: VisionModel
    module: nn.Module
    program: torch.export.ExportedProgram
    inputs: dict[str, Tensor]
    outputs: list[str]
    raw: bool
    reference: nn.Module

    @property
    def is_exact(self) -> bool:
        """Whether the graph computes in float32 throughout."""
        return self.module is self.reference

    @property
    def score_thresholds(self) -> ScoreThresholds:
        """Those of the graph; a raw one has none."""
        return _thresholds_of(self.module)

    @contextmanager
    def thresholds_moved(self, threshold: float | None) -> Iterator[None]:
        """Within it, the score thresholds of the reference are `threshold`; None leaves them."""
        with _thresholds_of(self.reference).moved(threshold):
            yield

    @property
    def shapes(self) -> dict[str, list[int | str]]:
        """The shape of each input by its name, a word for a side of any length."""
        recorded = {node.name: node.meta["val"].shape for node in self.program.graph.nodes if node.op == "placeholder"}
        given = zip(self.inputs, self.program.graph_signature.user_inputs, strict=True)
        return {
            name: [
                side if isinstance(side, int) else word for side, word in zip(recorded[node], _SIDES[name], strict=True)
            ]
            for name, node in given
        }


_UNEQUAL = "Constraints violated"
"""What torch.export says of sides that must be multiples, such as where pooled maps are added to strided ones."""


def record(model: VisionModel, raw: bool = False, size: Size | None = None, float16: bool = False) -> Recorded:
    """Record the graph of a model, in evaluation mode, with batch norm folded into convolutions.

    Args:
        model: the model.
        raw: leave out normalization, decoding and suppression.
        size: height and width of the input; None: that of the preprocessing, or any.
        float16: layers compute in float16, as they do anyway if the model is in it.

    Raises:
        InputError: the model cannot be recorded as one graph, or does not take `size`.
    """
    name = type(model).__name__
    if model.graph_fields - {"proposals"}:
        fields = " and ".join(sorted(model.graph_fields))
        raise InputError(f"The {name} asks for {fields} with each image, but an exported graph takes images alone.")
    float16 = float16 or next(model.parameters()).dtype == torch.float16
    model = in_float32(model)
    network = model.folded()
    reference: nn.Module = Raw(network) if raw else ExportedGraph(network)
    module = _in_float16(network, raw) if float16 else reference
    inputs, shapes = _raw_inputs(model, size) if raw else _inputs(model, size)
    if not raw and "proposals" in model.graph_fields:
        inputs, shapes = _with_proposals(inputs, shapes)
    try:
        with torch.no_grad():
            outputs = module(*inputs.values())
            program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes)
    except InputError:
        raise
    except NotImplementedError as error:
        why = first_line(error) if str(error) else "a head lacks decode_padded"
        raise InputError(f"The {name} does not decode in a graph ({why}): export it with raw.") from error
    except Exception as error:  # torch.export raises errors of any type
        if size is None and not raw and _UNEQUAL in str(error):
            raise InputError(
                f"The {name} takes images of any size, but some of its layers fit together for certain sizes alone: "
                f"export it for one, such as --size [480,640], or give its preprocess the divisor "
                f"{_coarsest_stride(model)}."
            ) from error
        raise InputError(
            f"The {name} cannot be exported as one graph ({first_line(error)}): export one of the models in "
            "docs/export.md."
        ) from error
    return Recorded(model, module, program, inputs, output_names(outputs), raw, reference)


def _in_float16(network: VisionModel, raw: bool) -> nn.Module:
    halved = in_float16(network)
    return WithFloat32Ends(Raw(halved)) if raw else ExportedGraph(halved)


def _thresholds_of(module: nn.Module) -> ScoreThresholds:
    own = module.score_thresholds if isinstance(module, ExportedGraph) else ScoreThresholds(nn.Identity())
    assert isinstance(own, ScoreThresholds)
    return own


def output_names(outputs: Any) -> list[str]:
    """A name of each output: ``scores``, or ``scores.0`` where there is one for each level."""
    names = []
    for keys, value in tree_flatten_with_path(outputs)[0]:
        if value is None:
            continue
        words = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys]
        names.append(".".join(["output", *words] if not words or words[0].isdecimal() else words))
    return names


def _raw_inputs(model: VisionModel, size: Size | None) -> tuple[dict[str, Tensor], Any]:
    """Two preprocessed images of one size: one alone would make the number of images a constant."""
    if size is None:
        image = torch.zeros(3, *SAMPLE_SIZE, dtype=torch.uint8, device=_device(model))
        height, width = model.preprocess([image]).images.shape[-2:]
        size = height, width
    return {"images": _noise(model, size, torch.randn)}, ({0: torch.export.Dim("batch")},)


def _inputs(model: VisionModel, size: Size | None) -> tuple[dict[str, Tensor], Any]:
    """Two images, and their sizes where preprocessing pads, each with its dimensions of any length."""
    fixed, batch = model.preprocess.fixed_size, torch.export.Dim("batch")
    if fixed is not None:
        if size is not None and tuple(size) != fixed:
            raise InputError(f"The {type(model).__name__} takes images of {fixed[0]} x {fixed[1]}: leave out the size.")
        return {"images": _noise(model, fixed, torch.rand)}, ({0: batch},)
    divisor, sides = model.preprocess.divisor, {}
    if size is None:
        least = _least_side(model, divisor)
        for axis, name in ((2, "rows"), (3, "columns")):
            count = torch.export.Dim(name, min=least)
            sides[axis] = count if divisor == 1 else divisor * count
        height, width = (math.ceil(max(side, 2 * least) / divisor) * divisor for side in TRACED_SIZE)
        size = height, width
    elif any(side % divisor for side in size):
        raise InputError(f"The {type(model).__name__} takes sides that are multiples of {divisor}, got {tuple(size)}.")
    images = _noise(model, size, torch.rand)
    sizes = torch.tensor([size, (size[0] - 3, size[1] - 6)], device=images.device)
    return {"images": images, "sizes": sizes}, ({0: batch, **sides}, {0: batch})


def _with_proposals(inputs: dict[str, Tensor], shapes: Any) -> tuple[dict[str, Tensor], Any]:
    """The same with the sizes of images in any case, and any number of proposals."""
    images = inputs["images"]
    whole = torch.tensor(images.shape[-2:], device=images.device).expand(2, -1)
    sizes = inputs.get("sizes", whole)
    corners = sizes.flip(1).repeat(1, 2) * torch.tensor([0.1, 0.2, 0.8, 0.9], device=images.device)
    proposals = torch.stack((corners, corners / 2, torch.zeros_like(corners)), dim=1).to(images.dtype)
    batch = shapes[0][0]
    return (
        {"images": images, "sizes": sizes, "proposals": proposals},
        (shapes[0], {0: batch}, {0: batch, 1: torch.export.Dim("proposals")}),
    )


def _least_side(model: VisionModel, divisor: int) -> int:
    """The least side of images, in units of `divisor`; below two cells torch would take sizes for constants."""
    stride = _coarsest_stride(model)
    least = stride // divisor + 1
    pixels = _noise(model, (least * divisor, least * divisor), torch.rand)
    with torch.no_grad():
        maps = [one for one in tree_leaves(model.features(Batch(pixels))) if isinstance(one, Tensor) and one.ndim == 4]
    rounds_down = any(min(one.shape[-2:]) < 2 for one in maps)  # as pooling without padding does
    return math.ceil(2 * stride / divisor) if rounds_down else least


def _coarsest_stride(model: VisionModel) -> int:
    """Pixels per cell of the coarsest map of any module."""
    strides = [getattr(module, "strides", None) for module in model.modules()]
    return max([math.ceil(max(own)) for own in strides if isinstance(own, (list, tuple)) and own], default=1)


def _noise(model: VisionModel, size: Size, kind: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return kind(2, 3, *size, generator=generator).to(_device(model), next(model.parameters()).dtype)


def _device(model: VisionModel) -> torch.device:
    return next(model.parameters()).device
