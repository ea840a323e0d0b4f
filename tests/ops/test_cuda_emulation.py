"""What the emulation of CUDA in cuda_on_cpu/ notices that would be wrong on a device only."""

import os
import shutil
import subprocess

import pytest
from emulated_kernels import EMULATION


def test_faults_are_noticed(tmp_path):
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        pytest.skip(f"needs the compiler {compiler!r}")
    flags = ["-std=c++20", "-O1", "-U_FORTIFY_SOURCE", f"-I{EMULATION}"]
    program = tmp_path / "faulty_kernels"
    subprocess.run([compiler, *flags, str(EMULATION / "faulty_kernels.cpp"), "-o", str(program)], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert dict(line.split(": ") for line in said.splitlines()) == {
        "with a barrier": "right",
        "without a barrier": "wrong",
        "memory never written": "wrong",
        "barriers at two places": "refused",
        "a vote without some threads": "refused",
        "too many blocks": "refused",
    }
