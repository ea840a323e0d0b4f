"""YOLO9000's hierarchy of classes (YOLOv2, section 4)."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from detkit.weights.darknet.cfg import Section, read_text


class ClassTree(nn.Module):
    """A tree of classes. Classes of one parent form a group, whose probabilities sum to 1.

    Args:
        section: the layer with the key ``tree``: a file with ``name parent`` for each class, ``-1`` for none. Its path
            may be relative to the working directory, to the folder of the cfg or to the folder above that.
        classes: the required number of classes.

    Raises:
        InputError: there is no such file, or it is not a tree of that many classes.
    """

    groups: Tensor
    parents: Tensor
    child_groups: Tensor
    depths: Tensor

    def __init__(self, section: Section, classes: int) -> None:
        super().__init__()
        parents = _read_parents(section)
        if len(parents) != classes or parents[0] != -1 or any(parent >= row for row, parent in enumerate(parents)):
            raise section.error(
                f"the tree has {len(parents)} classes, the layer {classes}; a parent must come before its children",
                "tree",
            )
        groups, children, depths = [0], [-1] * classes, [0] * classes
        for row, parent in enumerate(parents[1:], start=1):
            groups.append(groups[-1] + (parent != parents[row - 1]))
            depths[row] = depths[parent] + 1 if parent >= 0 else 0
        for row in range(classes - 1, -1, -1):
            if parents[row] >= 0:
                children[parents[row]] = groups[row]
        self.number_of_groups, self.depth = groups[-1] + 1, max(depths)
        self.register_buffer("groups", torch.tensor(groups), persistent=False)
        self.register_buffer("parents", torch.tensor(parents), persistent=False)
        self.register_buffer("child_groups", torch.tensor(children), persistent=False)
        self.register_buffer("depths", torch.tensor(depths), persistent=False)

    def softmax(self, logits: Tensor) -> Tensor:
        """Probabilities within each group, of `logits` ``(..., K)``."""
        logits = (logits - self._of_groups(logits, "amax")[..., self.groups]).exp()
        return logits / self._of_groups(logits, "sum")[..., self.groups]

    def absolute(self, probabilities: Tensor) -> Tensor:
        """The result of `softmax` ``(..., K)`` times the probabilities of all ancestors."""
        probabilities = probabilities.clone()
        for depth in range(1, self.depth + 1):
            rows = torch.where(self.depths == depth)[0]
            probabilities[..., rows] *= probabilities[..., self.parents[rows]]
        return probabilities

    def descend(self, probabilities: Tensor, threshold: float) -> Tensor:
        """The class that darknet selects for each row of absolute `probabilities` ``(N, K)``; int64 ``(N,)``.

        It descends from the root to the best child as long as the product of the probabilities on the way is above
        `threshold`. As in darknet, they are absolute already, so it stops early.
        """
        rows = torch.arange(len(probabilities), device=probabilities.device)
        best = self._of_groups(probabilities, "amax")
        columns = torch.arange(probabilities.shape[1], device=probabilities.device).expand_as(probabilities)
        columns = torch.where(probabilities == best[:, self.groups], columns, probabilities.shape[1])
        first = self._of_groups(columns, "amin")
        answer, product, active = first[:, 0].clone(), probabilities.new_ones(len(rows)), torch.ones_like(rows).bool()
        group = torch.zeros_like(rows)
        for _ in range(self.depth + 1):
            product = product * best[rows, group]
            active = active & (product > threshold)
            answer = torch.where(active, first[rows, group], answer)
            group = self.child_groups[answer]
            active, group = active & (group >= 0), group.clamp(min=0)
        return answer

    def _of_groups(self, values: Tensor, reduce: str) -> Tensor:
        """``(..., K)`` to ``(..., groups)``."""
        reduced = values.new_zeros(*values.shape[:-1], self.number_of_groups)
        return reduced.scatter_reduce(-1, self.groups.expand_as(values), values, reduce, include_self=False)


def _read_parents(section: Section) -> list[int]:
    """The parent of each class."""
    given, folder = Path(section.text("tree")), Path(section.file).parent
    for path in (given, folder / given, folder.parent / given):
        if _is_file(path):
            lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
            if not lines or any(len(line) < 2 or not re.fullmatch(r"-1|[0-9]{1,9}", line[-1]) for line in lines):
                raise section.error(f"{path} must have a name and a parent in each line", "tree")
            return [int(line[-1]) for line in lines]
    raise section.error(f"there is no tree {given}, neither here nor next to the cfg nor in {folder.parent}", "tree")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
