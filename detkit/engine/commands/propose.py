"""``tools/proposals.py``: selective search over a data set, and its recall."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from detkit.data import DataModule
from detkit.data.splits import Split
from detkit.engine.config.parser import ParsedCommand, command_parser, write_json
from detkit.evaluation import ProposalRecall
from detkit.proposals import CachedProposals, Proposals, SelectiveSearch
from detkit.structures import Target

DESCRIPTION = """Compute selective-search proposals for a data set, and print their recall.

--cache writes them to disk. Training with the same settings reads them from there.

examples:
  python tools/proposals.py --data.root my/folder --split train --cache runs/data/proposals
  python tools/proposals.py --data.root my/folder --search.mode quality --out recall.json"""


@dataclass(frozen=True)
class Options:
    """The arguments of the command."""

    split: Split
    cache: str | None
    limits: list[int]
    out: str | None


def proposals_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, compute, and print the recall."""
    parser = command_parser("", "[--KEY VALUE ...]", DESCRIPTION, "python tools/proposals.py")
    parser.add_argument("--split", type=Split, default="val", help="split to read")
    parser.add_argument("--cache", type=str | None, help="folder to write the proposals to")
    parser.add_argument(
        "--limits",
        type=list[int],
        default=[100, 1000, 2000],
        help="numbers of proposals per image at which recall is measured",
    )
    parser.add_argument("--out", type=str | None, help="write the recall to this JSON file")
    parser.add_class_arguments(SelectiveSearch, "search")
    parser.add_class_arguments(DataModule, "data", skip={"eval_split"})
    parsed = ParsedCommand.of(parser, argv)
    options, objects = parsed.options(Options), parsed.build()
    dataset = objects["data"].dataset(options.split)
    search: SelectiveSearch = objects["search"]
    proposals: Proposals = search if options.cache is None else CachedProposals(search, options.cache)
    recall = ProposalRecall(dataset.ground_truth(), options.limits)

    def propose(index: int) -> tuple[Target, Tensor]:
        image, target = dataset[index]
        return target, proposals(image)

    # The kernels run in one thread each: images are processed in parallel.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for target, boxes in track(pool.map(propose, range(len(dataset))), "images", total=len(dataset)):
            recall.update([target], [boxes])
    torch.set_num_threads(threads)
    numbers = recall.compute()
    for name, value in numbers.items():
        Console().print(f"{name:>14} {value:.3f}", highlight=False)
    if options.out:
        write_json(options.out, numbers)
