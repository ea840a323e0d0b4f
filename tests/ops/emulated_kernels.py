"""The CUDA kernels compiled for the CPU (see cuda_on_cpu/)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from detkit import ops

ROOT = Path(__file__).parent.parent.parent
CUDA_SOURCES = ROOT / "csrc" / "cuda"
EMULATION = Path(__file__).parent / "cuda_on_cpu"


class Kernels:
    """`kernels.nms(...)` calls the CUDA kernel of nms."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def __getattr__(self, name: str):
        op = getattr(getattr(torch.ops, self.namespace), name).default

        def run_on_cpu(*arguments):
            with poisoned_memory():
                return op._op_dk(torch._C.DispatchKey.CUDA, *arguments)

        return run_on_cpu


def built(folder: Path, name: str, sources: list[Path], *more_flags: str) -> Kernels:
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        pytest.skip(f"needs the compiler {compiler!r}")
    if ops.backend() == "reference":
        pytest.skip("the native kernels were not built")
    torch_folder = Path(torch.__file__).parent
    flags = ["-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-psabi", "-DUSE_CUDA"]
    # The ops get a name of their own, as the process has those of detkit already.
    flags += [f"-Ddetkit={name}", "-DTORCH_TARGET_VERSION=0x020b000000000000", *more_flags]
    # A vector that is not aligned ends the process, and says where.
    flags += ["-fsanitize=alignment", "-fno-sanitize-recover=alignment"]
    # The fibers leave their stacks by longjmp, which a fortified one takes for an attack.
    flags += ["-U_FORTIFY_SOURCE", f"-I{EMULATION}", "-isystem", str(torch_folder / "include")]
    sources = [*sources, ROOT / "csrc" / "library.cpp", EMULATION / "runtime.cpp"]
    objects = [folder / f"{source.name}.o" for source in sources]
    commands = [
        [compiler, "-x", "c++", "-c", str(source), "-o", str(result), *flags]
        for source, result in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, commands))
    library = folder / "cuda_on_cpu.so"
    link = [
        "-shared",
        "-fsanitize=alignment",
        "-Wl,-Bsymbolic",
        f"-L{torch_folder / 'lib'}",
        "-ltorch_cpu",
        "-o",
        str(library),
    ]
    run([compiler, *map(str, objects), *link])
    torch.ops.load_library(library)
    return Kernels(name)


def run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """New tensors are full of NaN, or of the greatest integer, so that what a kernel forgets to write is noticed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
