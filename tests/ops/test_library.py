import logging
import subprocess
import sys

import torch

from detkit.ops import backend, library


def test_backend_names_what_runs(monkeypatch):
    for devices, name in [((), "reference"), (("cpu",), "native"), (("cpu", "cuda"), "native+cuda")]:
        monkeypatch.setattr(library, "NATIVE_DEVICES", frozenset(devices))
        assert backend() == name
        assert library.is_native(torch.device("cpu")) == ("cpu" in devices)


def test_without_the_library_one_warning_says_how_to_build_it(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(library, "_PACKAGE", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert library._load_all() == frozenset()
    assert len(caplog.records) == 1
    assert "pip install ." in caplog.text


def test_a_library_that_does_not_load_is_named(monkeypatch, tmp_path, caplog):
    (tmp_path / "_C.so").write_bytes(b"not a library")
    monkeypatch.setattr(library, "_PACKAGE", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert library._load_all() == frozenset()
    assert str(tmp_path / "_C.so") in caplog.text


def test_ops_import_no_other_room():
    """Everything but structures, files, errors and old names stands above the ops."""
    script = "import sys, detkit.ops; print(*sorted(name for name in sys.modules if name.startswith('detkit.')))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    rooms = {name.split(".")[1] for name in output.split()}
    assert rooms <= {"ops", "errors", "files", "structures", "deprecation"}
