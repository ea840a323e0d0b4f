"""``tools/proposals.py``: selective search over a data set, and how much it finds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from detkit.data import DataModule
from detkit.engine.building import build
from detkit.engine.config.parser import command_parser, parse, write_json
from detkit.evaluation import ProposalRecall
from detkit.proposals import CachedProposals, SelectiveSearch
from detkit.structures import Target

DESCRIPTION = """Compute the proposals of selective search for a data set, and their recall.

With --cache they are kept on disk, where training with the same settings finds them.

examples:
  tools/proposals.py --data.root my/folder --split train --cache runs/data/proposals
  tools/proposals.py --data.root my/folder --search.mode quality --out recall.json"""


def proposals_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, compute, and print the recall."""
    parser = command_parser("proposals", "[--KEY VALUE ...]", DESCRIPTION)
    parser.add_argument("--split", type=str, default="val", help="train, val or test")
    parser.add_argument("--cache", type=str | None, help="the folder to keep the proposals in")
    parser.add_argument("--limits", type=list[int], default=[100, 1000, 2000], help="numbers of proposals to measure")
    parser.add_argument("--out", type=str | None, help="write the numbers to this JSON file")
    parser.add_class_arguments(SelectiveSearch, "search")
    parser.add_class_arguments(DataModule, "data", skip={"eval_split"})
    config = parse(parser, argv)
    objects = build(parser, config)
    dataset = objects.data.dataset(config.split)
    proposals = objects.search if config.cache is None else CachedProposals(objects.search, config.cache)
    recall = ProposalRecall(dataset.ground_truth(), config.limits)

    def propose(index: int) -> tuple[Target, Tensor]:
        image, target = dataset[index]
        return target, proposals(image)

    # The kernels are of one thread each: images go side by side.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for target, boxes in track(pool.map(propose, range(len(dataset))), "images", total=len(dataset)):
            recall.update([target], [boxes])
    torch.set_num_threads(threads)
    numbers = recall.compute()
    for name, value in numbers.items():
        Console().print(f"{name:>14} {value:.3f}", highlight=False)
    if config.out:
        write_json(config.out, numbers)
