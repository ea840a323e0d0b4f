"""Files of `torch.export` and of TorchScript in torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_unflatten

import detkit.ops  # noqa: F401  # the files call detkit's operations
from detkit.errors import InputError, first_line
from detkit.exporting.quiet import quiet_translation
from detkit.exporting.recording import output_names
from detkit.exporting.runtimes.exported_file import ExportedFile
from detkit.exporting.runtimes.fed_arrays import as_arrays, precision_of
from detkit.exporting.score_thresholds import is_score_threshold
from detkit.exporting.torch_programs import FACTS_FILE


class _TorchFile(ExportedFile):
    """A file whose content is a function of tensors.

    Args:
        path: of the file.
    """

    _function: Any

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runtime = f"torch {torch.__version__}"
        extra: dict[str, Any] = {FACTS_FILE: ""}
        try:
            with quiet_translation():  # torch prefers its newer format to TorchScript
                self._open(extra)
        except Exception as error:  # torch raises errors of any type
            raise InputError(f"torch cannot read {path}: {first_line(error)}") from error
        self.facts = dict(json.loads(extra[FACTS_FILE] or "{}"))

    def _open(self, extra: dict[str, Any]) -> None:
        """Set all but the facts, which `extra` gets."""
        raise NotImplementedError

    def run(self, inputs: Mapping[str, np.ndarray | Tensor]) -> dict[str, np.ndarray]:
        """See `ExportedFile.run`."""
        tensors = [torch.from_numpy(value) for value in as_arrays(inputs, self.inputs, self.path).values()]
        try:
            with torch.no_grad():
                outputs = self._function(*tensors)
        except Exception as error:
            raise InputError(f"torch cannot run {self.path}: {first_line(error)}") from error
        leaves = (one for one in tree_leaves(outputs) if one is not None)
        return {name: one.cpu().numpy() for name, one in zip(output_names(outputs), leaves, strict=True)}

    def move_score_thresholds_(self, threshold: float) -> None:
        """See `ExportedFile.move_score_thresholds_`."""
        for name, buffer in self._function.named_buffers():
            if is_score_threshold(name):
                buffer.fill_(threshold)


class TorchExportFile(_TorchFile):
    """A file of `torch.export`, ``.pt2``.

    Args:
        path: of the file.
    """

    def _open(self, extra: dict[str, Any]) -> None:
        self.program = torch.export.load(str(self.path), extra_files=extra)
        self._function = self.program.module()
        self.inputs = list(self.program.graph_signature.user_inputs)
        made = {node.name: node.meta.get("val") for node in self.program.graph.nodes if node.op == "placeholder"}
        self.shapes = {
            name: [side if isinstance(side, int) else None for side in value.shape]
            for name in self.inputs
            if isinstance(value := made.get(name), Tensor)
        }
        spec = self.program.call_spec.out_spec
        assert spec is not None
        self.outputs = output_names(tree_unflatten([0] * spec.num_leaves, spec))
        self.precision = precision_of([*self.program.state_dict.values(), *self.program.constants.values()])


class TorchScriptFile(_TorchFile):
    """A TorchScript file, ``.ts``.

    Args:
        path: of the file.
    """

    def _open(self, extra: dict[str, Any]) -> None:
        self.module = torch.jit.load(str(self.path), map_location="cpu", _extra_files=extra)
        self._function = self.module
        schema = self.module.forward.schema
        self.inputs = [argument.name for argument in schema.arguments if argument.name != "self"]
        self.shapes = {}  # TorchScript keeps none
        facts = json.loads(extra[FACTS_FILE] or "{}")
        meanings = json.loads(facts.get("detkit.outputs", "{}"))
        self.outputs = list(meanings) or output_names(_leaves(schema.returns[0].type))
        self.precision = precision_of([*self.module.parameters(), *self.module.buffers()])


def _leaves(kind: Any) -> Any:
    """A type of TorchScript as tuples of those of tensors."""
    return tuple(map(_leaves, kind.elements())) if hasattr(kind, "elements") else kind
