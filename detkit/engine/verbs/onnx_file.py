"""`export`: the network of a model as an ONNX file, with what it takes and where it is from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten_with_path, tree_leaves

import detkit
from detkit.engine.checkpoint import load
from detkit.engine.verbs.process_state import unchanged_process
from detkit.errors import InputError, first_line
from detkit.files import open_whole_folder, write_whole
from detkit.models import Raw, VisionModel
from detkit.models.predicting.evaluation_mode import evaluation_mode
from detkit.structures.weights_source import PROVENANCE_KEY, provenance_text

NEEDED = ("onnx", "onnxscript")
TOLERANCE = 1e-3
"""The largest difference between ONNX Runtime and the model, of the largest number of an output."""


def export(
    model: VisionModel | str | Path,
    path: str | Path,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the network of a model as an ONNX file: backbone, neck and heads, for any number of images.

    Preprocessing and suppression are not in it: ``model.preprocess(images).images`` is its input, and
    ``model.decode(outputs, batch)`` gives the detections. Batch norm is folded into the convolutions. Where ONNX
    Runtime is installed, the file is written only if its outputs are those of the model.

    Args:
        model: a model, a checkpoint or a run's folder.
        path: the file to write, ``m.onnx``; replaced in one step.
        size: height and width of its input in pixels; None: what `model.preprocess` makes of a 480 x 640 image.
        metadata: further entries of the file, beside those on classes, pixels and version.

    Raises:
        InputError: onnx is not installed, the model cannot be exported as one graph, its outputs differ, or the file
            cannot be written.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise InputError(f"An ONNX file needs {' and '.join(missing)}, not installed here: pip install detkit[onnx]")
    network = model if isinstance(model, VisionModel) else load(model)
    with unchanged_process(), evaluation_mode(network), torch.no_grad():
        _write(network, Path(path), size, metadata or {})


def _write(model: VisionModel, path: Path, size: tuple[int, int] | None, metadata: Mapping[str, str]) -> None:
    import onnx

    name = type(model).__name__
    images = _images(model, size)
    raw = Raw(model.folded())
    outputs = raw(images)
    try:
        graph = torch.export.export(raw, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        program = torch.onnx.export(
            graph, input_names=["images"], output_names=output_names(outputs), verbose=False, external_data=False
        )
    except Exception as error:  # torch.export and the translators of operations raise errors of any type
        raise InputError(
            f"The {name} cannot be exported to ONNX as one graph ({first_line(error)}): export one of the models in "
            "docs/export.md."
        ) from error
    assert program is not None  # it is only where torch writes the file itself
    proto = program.model_proto
    for key, text in {**facts_of(model, images), **metadata}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text
    _name_batch(proto.graph)
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    if find_spec("onnxruntime") is not None:
        with open_whole_folder(path) as folder:
            write_whole(folder / "checked.onnx", content)
            check_outputs(folder / "checked.onnx", raw, images, name)
    write_whole(path, content)


def _name_batch(graph: Any) -> None:
    """Call the number of images ``batch``; torch numbers its names of sizes."""
    given = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == given:
                dim.dim_param = "batch"


def facts_of(model: VisionModel, images: Tensor) -> dict[str, str]:
    """What the file says of itself: the model, its classes by label, its pixels."""
    preprocess = model.preprocess
    facts: dict[str, Any] = {
        "detkit.version": detkit.__version__,
        "detkit.model": type(model).__name__,
        "detkit.classes": json.dumps([one.name for one in model.categories or []]),
        "detkit.mean": json.dumps(preprocess.mean.flatten().tolist()),
        "detkit.std": json.dumps(preprocess.std.flatten().tolist()),
        "detkit.size": json.dumps(list(images.shape[-2:])),
        PROVENANCE_KEY: provenance_text(model.provenance),
    }
    return facts


def output_names(outputs: Any) -> list[str]:
    """A name of each output: ``scores``, or ``scores.0`` where there is one for each level."""
    names = []
    for keys, value in tree_flatten_with_path(outputs)[0]:
        if value is None:
            continue
        words = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys]
        names.append(".".join(["output", *words] if not words or words[0].isdecimal() else words))
    return names


def check_outputs(file: Path, raw: Raw, images: Tensor, name: str) -> None:
    """Compare the outputs of ONNX Runtime with those of the model, for one image and for several.

    Raises:
        InputError: they differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in (images[:1], images):
        theirs = session.run(None, {"images": batch.cpu().numpy()})
        ours = [output for output in tree_leaves(raw(batch)) if output is not None]
        for output, got, expected in zip(session.get_outputs(), theirs, ours, strict=True):
            expected = expected.detach().cpu().float()
            most = float((torch.from_numpy(got).float() - expected).abs().max()) if expected.numel() else 0.0
            if not most <= TOLERANCE * max(1.0, float(expected.abs().max()) if expected.numel() else 1.0):
                raise InputError(
                    f"ONNX Runtime gives other numbers than the {name}: {output.name} differs by {most:.2g}; the file "
                    "is not written."
                )


def _images(model: VisionModel, size: tuple[int, int] | None) -> Tensor:
    """Two preprocessed images: one alone would make the number of images a constant."""
    parameter = next(model.parameters())
    if size is None:
        picture = torch.zeros(3, 480, 640, dtype=torch.uint8, device=parameter.device)
        height, width = model.preprocess([picture]).images.shape[-2:]
    else:
        height, width = size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, height, width, generator=generator).to(parameter.device, parameter.dtype)
