"""What the compiler says of the CUDA kernels: `.ci/run` compiles them for every architecture, and has it read."""

import importlib.util
import sys
from pathlib import Path

import pytest

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
