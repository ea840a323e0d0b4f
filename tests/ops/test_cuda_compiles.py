"""The CUDA kernels compile for every architecture without a warning, and without a register that is spilled."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent

LOG = """
ptxas info    : Compiling entry function '_ZN6detkit66_GLOBAL__N__7c9f5d6b_6_rle_cu_3b6c6c0a11fill_kernelEPKlS1_lllPb' for 'sm_75'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 29 registers, used 0 barriers, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN6detkit66_GLOBAL__N__7c9f5d6b_6_rle_cu_3b6c6c0a11fill_kernelEPKlS1_lllPb' for 'sm_90'
    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 512 bytes smem, 400 bytes cmem[0]
"""  # noqa: E501


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location("cuda_registers", ROOT / "tools" / "cuda_registers.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cuda_registers", module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_the_log_of_the_compiler_is_read(tool, monkeypatch):
    monkeypatch.setattr(tool, "kernel_name", lambda mangled: ("rle", "fill_kernel"))
    usage = tool.usage_in(LOG)
    assert tool.table(usage).splitlines()[2:] == ["| rle | `fill_kernel` | 29 | 30 | 512 | 12 |"]
    assert tool.problem_in(LOG, usage) == "these kernels spill registers:\nrle: fill_kernel"
    assert tool.problem_in("a.cu(3): warning #177-D", tool.Usage()) == "the compiler warns:\na.cu(3): warning #177-D"
    assert tool.problem_in("", tool.Usage()) is None


@pytest.mark.slow
def test_kernels_compile_for_every_architecture_without_warning_and_spill(tool):
    if shutil.which("nvcc") is None or torch.version.cuda is None:
        pytest.skip("needs nvcc and a torch for CUDA")
    log = tool.compiled(["all"])
    usage = tool.usage_in(log)
    assert tool.problem_in(log, usage) is None
    assert len(usage.registers) > 50
    assert all(set(archs) == {"sm_75", "sm_80", "sm_90", "sm_100"} for archs in usage.registers.values())
