"""Draw the operators of docs/segmentation.md, computed by torch, into docs/images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones import receptive_field
from detkit.engine.cli import run
from detkit.heads.pixel.segnet import unpool

DOTS = 80  # per inch


def transposed_convolution(path: Path) -> None:
    """2x2 cells and a 3x3 kernel: each cell stamps the kernel, times its value; stamps add up to 4x4."""
    cells = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    stamped = F.conv_transpose2d(cells[None, None], kernel[None, None])[0, 0]
    _save(path, [("cells, 2 x 2", cells), ("kernel, 3 x 3", kernel), ("stamps added up, 4 x 4", stamped)])


def unpooling(path: Path) -> None:
    """Maxima of 3x5 cells, and what unpooling restores of them."""
    cells = torch.tensor([[1.0, 7.0, 3.0, 2.0, 4.0], [5.0, 2.0, 6.0, 9.0, 1.0], [8.0, 3.0, 2.0, 5.0, 6.0]])
    pooled, indices = F.max_pool2d(cells[None], 2, 2, ceil_mode=True, return_indices=True)
    restored = unpool(pooled[None], indices[None], cells.shape)[0, 0]
    titles = ("map, 3 x 5", "maxima, 2 x 3", "indices of the maxima", "unpooled, 3 x 5")
    _save(path, list(zip(titles, (cells, pooled[0], indices[0].float(), restored), strict=True)))


def dilation(path: Path) -> None:
    """The cells that one output of a 3x3 kernel reads, and those of three layers after each other."""
    shown = [(f"dilated by {rate}", _read_by([rate])) for rate in (1, 2, 4)]
    _save(path, [*shown, ("by 1, 2 and 4 in turn", _read_by([1, 2, 4]))], numbers=False)


def _read_by(rates: Sequence[int]) -> Tensor:
    """How often each of 17x17 cells is read for the middle one, by 3x3 kernels dilated by `rates` in turn."""
    cells = torch.zeros(1, 1, 17, 17, requires_grad=True)
    x, kernel = cells, torch.ones(1, 1, 3, 3)
    for rate in rates:
        x = F.conv2d(x, kernel, padding=rate, dilation=rate)
    (read,) = torch.autograd.grad(x[0, 0, 8, 8], cells)
    first, last = receptive_field([nn.Conv2d(1, 1, 3, padding=rate, dilation=rate) for rate in rates], 8)
    assert int((read[0, 0].sum(dim=0) > 0).nonzero()[-1] - (read[0, 0].sum(dim=0) > 0).nonzero()[0]) == last - first
    return read[0, 0]


def _save(path: Path, grids: Sequence[tuple[str, Tensor]], numbers: bool = True) -> None:
    figure = Figure(figsize=(2.3 * len(grids), 2.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, grid) in zip(figure.subplots(1, len(grids)), grids, strict=True):
        _draw(axes, title, grid, numbers)
    figure.savefig(path, dpi=DOTS)


def _draw(axes: Axes, title: str, grid: Tensor, numbers: bool) -> None:
    axes.imshow(grid.numpy(), cmap="Blues", vmin=0, vmax=1.6 * float(grid.max()))
    height, width = grid.shape
    axes.set_xticks([column - 0.5 for column in range(1, width)], [])
    axes.set_yticks([row - 0.5 for row in range(1, height)], [])
    axes.grid(color="white")
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=9)
    if numbers:
        for row, values in enumerate(grid.tolist()):
            for column, value in enumerate(values):
                axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=10)


def draw(argv: Sequence[str]) -> None:
    """Draw all figures into a folder."""
    parser = argparse.ArgumentParser(description="Draw the figures of docs/segmentation.md.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "images")
    folder = parser.parse_args(argv).out
    folder.mkdir(parents=True, exist_ok=True)
    for figure in (transposed_convolution, unpooling, dilation):
        figure(folder / f"{figure.__name__}.png")


if __name__ == "__main__":
    sys.exit(run(draw))
