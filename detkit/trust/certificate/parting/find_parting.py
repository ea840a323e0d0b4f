"""Where a file of any format parts from its checkpoint."""

from __future__ import annotations

from typing import Any

from detkit.errors import InputError, first_line
from detkit.exporting.onnx_program import onnx_program
from detkit.exporting.quiet import quiet_translation
from detkit.exporting.recording import Recorded, record
from detkit.exporting.runtimes import ExportedFile
from detkit.models import VisionModel
from detkit.trust.certificate.file_inputs import FileInputs
from detkit.trust.certificate.parting.parted_node import Parting

_Key = tuple[bool, tuple[int, int] | None]


class PartingFinder:
    """Finds where files part from one model, whose graphs it keeps.

    Args:
        model: of the checkpoint, on the CPU, in evaluation mode.
    """

    def __init__(self, model: VisionModel) -> None:
        self.model = model
        self._recorded: dict[_Key, Recorded] = {}
        self._onnx: dict[_Key, Any] = {}

    def find(self, file: ExportedFile, inputs: FileInputs, raw: bool) -> Parting:
        """Where a file parts from the model, for inputs whose answers differ.

        Args:
            file: the file.
            inputs: of the file.
            raw: whether the file has no decoding.
        """
        suffix = file.path.suffix
        if suffix not in (".onnx", ".pt2"):
            words = {".ts": "TorchScript", ".xml": "OpenVINO"}.get(suffix, suffix)
            return Parting(note=f"{words} has no nodes of the checkpoint's names: export to .onnx or .pt2 to find one")
        height, width = (file.shapes.get("images") or [None] * 4)[-2:]
        fixed = self.model.preprocess.fixed_size if not raw else None
        size = None if height is None or width is None or fixed is not None else (height, width)
        try:
            with quiet_translation():
                return self._found(file, inputs, (raw, size))
        except InputError as error:
            return Parting(note=f"the checkpoint's graph cannot be made: {error}")
        except (RuntimeError, ValueError, KeyError, StopIteration) as error:
            return Parting(note=f"the graphs cannot be compared node by node: {first_line(error)}")

    def _found(self, file: ExportedFile, inputs: FileInputs, key: _Key) -> Parting:
        values = {name: inputs.values[name] for name in file.inputs}
        if key not in self._recorded:
            self._recorded[key] = record(self.model, *key)
        if file.path.suffix == ".pt2":
            from detkit.exporting.runtimes.torch_graphs import TorchExportFile
            from detkit.trust.certificate.parting.torch_parting import torch_parting

            assert isinstance(file, TorchExportFile), "the suffix decides"
            return torch_parting(file.program, self._recorded[key].program, values)
        # onnx is an extra.
        import onnx

        from detkit.exporting.runtimes.onnx_file import OnnxFile
        from detkit.trust.certificate.parting.onnx_parting import onnx_parting

        assert isinstance(file, OnnxFile), "the suffix decides"
        if key not in self._onnx:
            self._onnx[key] = onnx.load_model_from_string(onnx_program(self._recorded[key], {}))
        return onnx_parting(file, self._onnx[key], values)
