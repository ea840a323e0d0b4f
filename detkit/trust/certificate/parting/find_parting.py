"""Where a file of any format parts from its checkpoint."""

from __future__ import annotations

from typing import Any

import detkit
from detkit.errors import InputError, first_line
from detkit.exporting.onnx_program import onnx_program
from detkit.exporting.quiet import quiet_translation
from detkit.exporting.recording import Recorded, record
from detkit.exporting.runtimes import ExportedFile
from detkit.models import VisionModel
from detkit.trust.certificate.file_inputs import FileInputs
from detkit.trust.certificate.parting.graph_changes import GraphChanges
from detkit.trust.certificate.parting.parted_node import Parting

_Key = tuple[bool, tuple[int, int] | None, bool]
_UNNAMED = {".ts": "TorchScript", ".xml": "OpenVINO"}
_OTHER = "so its weights and constants are not compared, but its answers alone"


class PartingFinder:
    """Finds where files part from one model, whose graphs it keeps.

    Args:
        model: of the checkpoint, on the CPU, in evaluation mode.
    """

    def __init__(self, model: VisionModel) -> None:
        self.model = model
        self._recorded: dict[_Key, Recorded] = {}
        self._onnx: dict[_Key, Any] = {}

    def changes(self, file: ExportedFile, raw: bool) -> GraphChanges:
        """What differs between the graph of a file and that of the model, whatever they answer.

        Args:
            file: the file.
            raw: whether it has no decoding.
        """
        if file.path.suffix in _UNNAMED:
            words = f"a file for {_UNNAMED[file.path.suffix]} does not keep the nodes of the checkpoint's graph"
            return GraphChanges(note=f"{words}, {_OTHER}")
        try:
            with quiet_translation():
                return self._changes(file, raw)
        except InputError as error:
            return GraphChanges(note=f"the checkpoint's graph cannot be made, {_OTHER}: {error}")

    def find(self, file: ExportedFile, inputs: FileInputs, raw: bool) -> Parting:
        """Where a file parts from the model, for inputs whose answers differ.

        Args:
            file: the file.
            inputs: of the file.
            raw: whether the file has no decoding.
        """
        suffix = file.path.suffix
        if suffix in _UNNAMED:
            note = f"{_UNNAMED[suffix]} has no nodes of the checkpoint's names: export to .onnx or .pt2 to find one"
            return Parting(note=note)
        try:
            with quiet_translation():
                return self._found(file, inputs, raw)
        except InputError as error:
            return Parting(note=f"the checkpoint's graph cannot be made: {error}")
        except (RuntimeError, ValueError, KeyError, StopIteration) as error:
            return Parting(note=f"the graphs cannot be compared node by node: {first_line(error)}")

    def _changes(self, file: ExportedFile, raw: bool) -> GraphChanges:
        of_half = file.precision == "float16"
        if file.path.suffix == ".pt2":
            from detkit.exporting.runtimes.torch_graphs import TorchExportFile
            from detkit.trust.certificate.parting.torch_changes import torch_changes

            assert isinstance(file, TorchExportFile), "the suffix decides"
            own = self._program(self._key(file, raw, of_half)).program
            return torch_changes(file.program, own, file.facts.get("detkit.version") == detkit.__version__)
        from detkit.exporting.runtimes.onnx_file import OnnxFile
        from detkit.trust.certificate.parting.onnx_changes import onnx_changes

        assert isinstance(file, OnnxFile), "the suffix decides"
        if of_half:  # recorded in half it is equal; a file that another tool has made of the one in float32 is not
            found = onnx_changes(file.proto, self._onnx_graph(self._key(file, raw, True)), "float32")
            if not found.note:
                return found
        return onnx_changes(file.proto, self._onnx_graph(self._key(file, raw)), file.precision)

    def _found(self, file: ExportedFile, inputs: FileInputs, raw: bool) -> Parting:
        values, key = {name: inputs.values[name] for name in file.inputs}, self._key(file, raw)
        if file.path.suffix == ".pt2":
            from detkit.exporting.runtimes.torch_graphs import TorchExportFile
            from detkit.trust.certificate.parting.torch_parting import torch_parting

            assert isinstance(file, TorchExportFile), "the suffix decides"
            return torch_parting(file.program, self._program(key).program, values)
        from detkit.exporting.runtimes.onnx_file import OnnxFile
        from detkit.trust.certificate.parting.onnx_parting import onnx_parting

        assert isinstance(file, OnnxFile), "the suffix decides"
        return onnx_parting(file, self._onnx_graph(key), values)

    def _key(self, file: ExportedFile, raw: bool, of_half: bool = False) -> _Key:
        height, width = (file.shapes.get("images") or [None] * 4)[-2:]
        fixed = self.model.preprocess.fixed_size if not raw else None
        return raw, None if height is None or width is None or fixed is not None else (height, width), of_half

    def _program(self, key: _Key) -> Recorded:
        if key not in self._recorded:
            self._recorded[key] = record(self.model, *key)
        return self._recorded[key]

    def _onnx_graph(self, key: _Key) -> Any:
        # onnx is an extra.
        import onnx

        if key not in self._onnx:
            facts = {"detkit.version": detkit.__version__}
            self._onnx[key] = onnx.load_model_from_string(onnx_program(self._program(key), facts))
        return self._onnx[key]
