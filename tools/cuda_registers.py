"""Compile every CUDA kernel for all architectures, and print its registers and bytes of shared memory.

    python tools/cuda_registers.py
    python tools/cuda_registers.py --archs 90
    python tools/cuda_registers.py --log build.log

Needs nvcc, but no GPU. With --log it reads what nvcc has said of a build with NVCC_APPEND_FLAGS=-Xptxas=-v. Fails where
the compiler warns, or a kernel spills registers.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)'")
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
SOURCE = re.compile(r"\d+_([a-z_]+)_cu_[0-9a-f]")  # nvcc names anonymous namespaces after the file
KERNEL = re.compile(r"(\w+_kernel(?:<.*>)?)\(")


@dataclass
class Usage:
    """What the kernels, each a file and a name, take on each architecture."""

    registers: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    shared: dict[tuple[str, str], int] = field(default_factory=dict)  # the most bytes
    spilled: dict[tuple[str, str], int] = field(default_factory=dict)  # bytes on all architectures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archs", nargs="+", default=["all"], help="compute capabilities (default: all)")
    parser.add_argument("--log", type=Path, help="what nvcc has said of a build, in place of one")
    options = parser.parse_args()
    log = options.log.read_text() if options.log else compiled(options.archs)
    usage = usage_in(log)
    print(table(usage))
    if problem := problem_in(log, usage):
        raise SystemExit(problem)


def compiled(archs: list[str]) -> str:
    """What nvcc says of the kernels."""
    environment = {"DETKIT_CUDA": "1", "DETKIT_CUDA_ARCHS": " ".join(archs), "NVCC_APPEND_FLAGS": "-Xptxas=-v"}
    with tempfile.TemporaryDirectory() as folder:
        build = ["build_ext", "--force", "--build-temp", folder, "--build-lib", folder]
        command = [sys.executable, "setup.py", *build]
        result = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(result.stdout + result.stderr)
    return result.stdout + result.stderr


def usage_in(log: str) -> Usage:
    usage = Usage()
    for line in log.splitlines():
        if match := ENTRY.search(line):
            kernel, arch = kernel_name(match[1]), match[2]
        elif match := SPILLS.search(line):
            usage.spilled[kernel] = usage.spilled.get(kernel, 0) + int(match[1]) + int(match[2])
        elif match := USED.search(line):
            usage.registers.setdefault(kernel, {})[arch] = int(match[1])
            usage.shared[kernel] = max(usage.shared.get(kernel, 0), int(match[2] or 0))
    return usage


def problem_in(log: str, usage: Usage) -> str | None:
    """What is wrong with the kernels, if anything is."""
    warnings = [line for line in log.splitlines() if "warning" in line]
    if warnings:
        return "the compiler warns:\n" + "\n".join(warnings)
    spilling = [f"{file}: {name}" for (file, name), spilled in usage.spilled.items() if spilled]
    return "these kernels spill registers:\n" + "\n".join(spilling) if spilling else None


def table(usage: Usage) -> str:
    archs = sorted({arch for one in usage.registers.values() for arch in one}, key=lambda arch: int(arch[3:]))
    lines = [f"| file | kernel | {' | '.join(archs)} | shared | spilled |", "|---" * (len(archs) + 4) + "|"]
    for kernel, of_archs in sorted(usage.registers.items()):
        counts = " | ".join(str(of_archs[arch]) for arch in archs)
        lines.append(f"| {kernel[0]} | `{kernel[1]}` | {counts} | {usage.shared[kernel]} | {usage.spilled[kernel]} |")
    return "\n".join(lines)


def kernel_name(mangled: str) -> tuple[str, str]:
    """The file and the name with its template arguments, such as ("nms", "sweep_kernel<float>")."""
    name = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout
    name = re.sub(r"\([\w:]*OverlapMode\)(\d)", lambda mode: ("iou", "giou", "diou", "ciou")[int(mode[1])], name)
    name = re.sub(r"\([\w:]*Decay\)(\d)", lambda method: ("linear", "gaussian", "hard")[int(method[1])], name)
    name = name.replace("(bool)0", "false").replace("(bool)1", "true")
    name = re.sub(r"(?:\w+::|\(anonymous namespace\)::)+", "", name)
    source, kernel = SOURCE.search(mangled), KERNEL.search(name)
    if source is None or kernel is None:
        raise SystemExit(f"{name} is not named as a kernel of csrc/cuda")
    return source[1], kernel[1]


if __name__ == "__main__":
    main()
