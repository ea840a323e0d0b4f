"""Builds the native kernels in csrc/ into plain shared libraries that torch loads, without Python headers.

``detkit/_C.so`` holds the operations and their CPU kernels, ``detkit/_C_cuda.so`` the CUDA kernels. Both use torch's
stable ABI, so they run on any torch from 2.11 on, and on any Python. Without a C++ compiler detkit installs without
them and its operations run as plain torch.

Environment variables:
    DETKIT_CUDA           auto (default): build the CUDA kernels where nvcc and a CUDA torch of one version are found;
                          0: never; 1: fail where they cannot be built.
    DETKIT_CUDA_ARCHS     compute capabilities to compile for, as "80 90"; all: "75 80 90 100", for a wheel that
                          travels. Code that the drivers of newer GPUs translate is added. Default: those of this
                          machine's GPUs; without one, only code that a driver translates when it is first used, for 75
                          and newer, and for 90 and newer, which add vectors of numbers at once.
    DETKIT_SANITIZE       1: the CPU kernels stop the process at the first access outside of memory and the first
                          undefined result (AddressSanitizer and UndefinedBehaviorSanitizer), for tests/ops.
    CXX, NVCC             the compilers (default c++ and nvcc).
"""

import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

from build_backend import OLDEST_TORCH, find_torch, torch_cuda_version

CXX = os.environ.get("CXX", "c++")
NVCC = os.environ.get("NVCC", "nvcc")
CUDA = os.environ.get("DETKIT_CUDA", "auto")

CXX_FLAGS = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"]
# Kernels must round as torch does, so no multiplication is fused with an addition behind our back.
CXX_FLAGS += ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
if os.environ.get("DETKIT_SANITIZE") == "1":
    CXX_FLAGS += ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
    CXX_FLAGS += ["-O1", "-fno-omit-frame-pointer", "-g1", "-DDETKIT_SANITIZE"]
NVCC_FLAGS = ["-std=c++20", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", "-fmad=false", "-DUSE_CUDA"]
NVCC_FLAGS += ["--expt-relaxed-constexpr"]
CUDA_ARCHS = ["75", "80", "90", "100"]  # that every kernel is compiled for before a release
TRANSLATED_ARCHS = ["75", "90"]

# For each newest GLIBCXX_3.4.x of a manylinux tag the glibc 2.x of the tag (PEP 600, and auditwheel's list).
GLIBC_OF_GLIBCXX = {19: 17, 22: 24, 24: 27, 28: 31, 29: 34, 30: 35, 33: 39}


class BuildFailed(Exception):
    """A compiler is missing or has refused; the message says which."""


class BuildKernels(build_ext):
    """Compiles with plain compiler calls: there is no Python module here for setuptools to know about."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", os.sep) + ".so"

    def build_extension(self, extension: Extension) -> None:
        target = Path(self.get_ext_fullpath(extension.name))
        in_source = Path(self.get_ext_filename(extension.name))
        inputs = [Path(path) for path in (*extension.sources, *extension.depends, "setup.py")]
        if self.editable_mode and is_newer(in_source, inputs):  # an editable install builds in an empty folder
            self.mkpath(str(target.parent))
            self.copy_file(str(in_source), str(target))
        if is_newer(target, inputs) and not self.force:
            return
        must_build = extension.name.endswith("_cuda") and CUDA == "1"
        try:
            self._build(extension, target)
        except BuildFailed as reason:
            if must_build:
                raise SystemExit(f"detkit: DETKIT_CUDA=1, but {reason}") from None
            print(f"detkit: {extension.name} is not built, since {reason}")

    def _build(self, extension: Extension, target: Path) -> None:
        torch = find_torch()
        if torch is None:
            raise BuildFailed(f"there is no torch >= {'.'.join(map(str, OLDEST_TORCH))} to compile against")
        compiler, flags = (NVCC, nvcc_flags(torch)) if extension.name.endswith("_cuda") else (CXX, CXX_FLAGS)
        if shutil.which(compiler) is None:
            raise BuildFailed(f"there is no compiler {compiler!r} (on Debian and Ubuntu: apt install g++)")
        version = f"-DTORCH_TARGET_VERSION=0x{OLDEST_TORCH[0]:02x}{OLDEST_TORCH[1]:02x}000000000000"
        objects = [Path(self.build_temp) / (source + ".o") for source in extension.sources]
        commands = [
            [compiler, "-c", source, "-o", str(out), *flags, version, "-isystem", str(torch / "include")]
            for source, out in zip(extension.sources, objects, strict=True)
        ]
        for path in (*objects, target):
            path.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands))
        libraries = ["-ltorch_cpu"] + (["-ltorch_cuda"] if extension.name.endswith("_cuda") else [])
        # Written beside and moved, so that a process that has the old library loaded keeps it whole.
        linked = target.with_suffix(".linking")
        sanitizers = [flag for flag in flags if flag.startswith("-fsanitize=")]
        run([compiler, "-shared", *sanitizers, *map(str, objects), "-o", str(linked), f"-L{torch / 'lib'}", *libraries])
        linked.replace(target)

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).exists()]

    def copy_extensions_to_source(self) -> None:
        """An editable install has its libraries in the source tree."""
        for extension in self.extensions:
            built = Path(self.build_lib) / self.get_ext_filename(extension.name)
            if built.exists():
                self.copy_file(str(built), self.get_ext_filename(extension.name), level=self.verbose)


class BuildWithRecipes(build_py):
    """A wheel has the recipes in the package; an editable install finds them in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for recipe, copy in self._recipes().items():
            self.mkpath(os.path.dirname(copy))
            self.copy_file(recipe, copy)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        copies = [] if self.editable_mode else list(self._recipes().values())
        return [*super().get_outputs(include_bytecode), *copies]

    def _recipes(self) -> dict[str, str]:
        files = [*Path("configs").glob("*.yaml"), *Path("configs").glob("*.json")]
        return {str(file): os.path.join(self.build_lib, "detkit", str(file)) for file in files}


class Wheel(bdist_wheel):
    """The libraries depend on the platform but not on Python's version."""

    def get_tag(self) -> tuple[str, str, str]:
        built = Path(self.get_finalized_command("build").build_lib)
        return "py3", "none", manylinux_tag(sorted(built.glob("detkit/*.so")), super().get_tag()[2])


def manylinux_tag(libraries: list[Path], tag: str) -> str:
    """The tag of all Linux systems whose glibc and libstdc++ are new enough for `libraries`, by their symbols.

    torch brings the only other libraries that they need. Without a library, or on another system, it is `tag` itself.
    """
    contents = b"".join(library.read_bytes() for library in libraries)
    glibc = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", contents)}
    if not tag.startswith("linux_") or not glibc:
        return tag
    glibcxx = max((int(minor) for minor in re.findall(rb"GLIBCXX_3\.4\.(\d+)", contents)), default=0)
    enough = [minor for newest, minor in GLIBC_OF_GLIBCXX.items() if newest >= glibcxx]
    return tag.replace("linux_", f"manylinux_2_{max(*glibc, enough[0])}_", 1) if enough else tag


def nvcc_flags(torch: Path) -> list[str]:
    """The flags for this machine's nvcc; fails where its CUDA is not that of torch."""
    cuda = torch_cuda_version(torch)
    if cuda is None:
        raise BuildFailed("torch has no CUDA")
    if shutil.which(NVCC) is None:
        raise BuildFailed("there is no nvcc")
    banner = subprocess.run([NVCC, "--version"], capture_output=True, text=True, check=True).stdout
    if f"release {cuda.split('.')[0]}." not in banner:
        raise BuildFailed(f"nvcc is of another CUDA than torch's {cuda}")
    wanted = os.environ.get("DETKIT_CUDA_ARCHS", "")
    archs = CUDA_ARCHS if wanted == "all" else wanted.split() or archs_of_this_machine()
    native = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    translated = [f"-gencode=arch=compute_{arch},code=compute_{arch}" for arch in archs[-1:] or TRANSLATED_ARCHS]
    return [*NVCC_FLAGS, *native, *translated]


def archs_of_this_machine() -> list[str]:
    """The compute capabilities of the GPUs that are here, such as ["80", "90"]; none where there is no GPU."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return sorted({line.replace(".", "") for line in answer.split()}, key=int)


def is_newer(output: Path, inputs: list[Path]) -> bool:
    return output.exists() and all(path.stat().st_mtime < output.stat().st_mtime for path in inputs)


def run(command: list[str]) -> None:
    """Runs a compiler; what it says is shown whenever it says something."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.stdout or result.stderr:
        print(result.stdout + result.stderr)
    if result.returncode != 0:
        raise BuildFailed(f"this failed: {' '.join(command)}")


def extensions() -> list[Extension]:
    """The libraries to build, as far as this machine could."""
    headers = [str(path) for path in sorted(Path("csrc").glob("**/*.h"))]
    cpu = ["csrc/library.cpp", *(str(path) for path in sorted(Path("csrc/cpu").glob("*.cpp")))]
    cuda = [str(path) for path in sorted(Path("csrc/cuda").glob("*.cu"))]
    found = [Extension("detkit._C", cpu, depends=headers)]
    if CUDA != "0" and platform.system() == "Linux":
        found.append(Extension("detkit._C_cuda", cuda, depends=headers))
    return found


COMMANDS = {"build_ext": BuildKernels, "build_py": BuildWithRecipes, "bdist_wheel": Wheel}

setup(ext_modules=extensions(), cmdclass=COMMANDS)
