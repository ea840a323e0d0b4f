"""Print the registers and shared memory of each CUDA kernel, as in the table of docs/benchmarks.md.

    NVCC_APPEND_FLAGS=-Xptxas=-v DETKIT_CUDA=1 DETKIT_CUDA_ARCHS="75 80 90 100" \\
        python setup.py build_ext --force --build-temp build/ci --build-lib build/ci | python tools/cuda_registers.py
"""

from __future__ import annotations

import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)'")
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
SOURCE = re.compile(r"\d+_([a-z_]+)_cu_[0-9a-f]")  # nvcc names anonymous namespaces after the file
KERNEL = re.compile(r"(\w+_kernel(?:<.*>)?)\(")


def main() -> None:
    registers: dict[tuple[str, str], dict[str, int]] = {}
    shared: dict[tuple[str, str], int] = {}
    spilled: dict[tuple[str, str], int] = {}
    for line in sys.stdin:
        if match := ENTRY.search(line):
            kernel, arch = kernel_name(match[1]), match[2]
        elif match := SPILLS.search(line):
            spilled[kernel] = spilled.get(kernel, 0) + int(match[1]) + int(match[2])
        elif match := USED.search(line):
            registers.setdefault(kernel, {})[arch] = int(match[1])
            shared[kernel] = max(shared.get(kernel, 0), int(match[2] or 0))
    archs = sorted({arch for one in registers.values() for arch in one}, key=lambda arch: int(arch[3:]))
    print(f"| file | kernel | {' | '.join(archs)} | shared | spilled |")
    print("|---" * (len(archs) + 4) + "|")
    for kernel in sorted(registers):
        counts = " | ".join(str(registers[kernel][arch]) for arch in archs)
        print(f"| {kernel[0]} | `{kernel[1]}` | {counts} | {shared[kernel]} | {spilled[kernel]} |")


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
