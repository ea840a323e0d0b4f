"""Two processes with an image each, and one with both: the same gradient, as normalizers are means over processes."""

from functools import partial

import pytest
import torch
import torch.distributed
from contexts import context_of
from forked import run_in_processes

from detkit.heads import RPN, BoxHead, FCOSHead, KeypointHead, MaskHead, OverFeatHead, Regions, SSDHead
from detkit.structures import Target

STRIDES, SIZE = [8, 16], (64, 96)
BOXES = torch.tensor([[4.0, 5, 30, 40], [20, 10, 60, 44], [2, 30, 50, 62]])
TARGETS = {
    "both": [Target(BOXES, torch.tensor([0, 1, 2])), Target(BOXES[1:2], torch.tensor([1]))],
    "one": [Target(BOXES, torch.tensor([0, 1, 2])), Target.empty()],
    "none": [Target(), Target.empty()],
}
DENSE = {
    "fcos": partial(FCOSHead, [6] * 2, STRIDES, 3, convolutions=1),
    "ssd": partial(SSDHead, [6] * 2, STRIDES, 3, sizes=[16, 32, 60]),
    "rpn": partial(RPN, [6] * 2, STRIDES, samples_per_image=10_000, foreground_fraction=1.0),
    "overfeat": partial(
        OverFeatHead, [6] * 2, STRIDES, 3, window=1, class_hidden=(8,), box_hidden=(8,),
        positives_per_image=10_000, negatives_per_image=10_000,
    ),
}  # fmt: skip


def _dense(name, images, targets):
    torch.manual_seed(0)
    head = DENSE[name]()
    features = [torch.randn(2, 6, SIZE[0] // stride, SIZE[1] // stride)[images] for stride in STRIDES]
    context = context_of([SIZE] * len(images), [TARGETS[targets][image] for image in images])
    return head, head.losses(head(features, context), context)


def _branches(images, rows):
    """Box, mask and keypoint heads on regions, of which the second image has fewer, or none."""
    torch.manual_seed(0)
    box = BoxHead(6, 3, 3)
    mask, keypoint = MaskHead(6, 3, channels=8, convolutions=1), KeypointHead(6, 3, 4, channels=8, convolutions=1)
    masks = torch.rand(3, *SIZE) > 0.5
    points = torch.cat((BOXES[:, None, :2].expand(3, 4, 2) + 3, torch.full((3, 4, 1), 2.0)), dim=2)
    known = Target(BOXES, torch.tensor([0, 1, 2]), masks=masks, keypoints=points)
    crops, wide = torch.randn(2, 3, 6, 3, 3), torch.randn(2, 3, 6, 14, 14)
    counts = [3, rows]
    context = context_of([SIZE] * len(images), [known] * len(images))
    selected = [slice(0, counts[image]) for image in images]
    plain = Regions.of_images([BOXES[few] for few in selected], [known.labels[few] for few in selected])
    before = [3 * index + torch.arange(counts[image]) for index, image in enumerate(images)]
    regions = Regions(plain.boxes, plain.image_index, plain.labels, torch.cat(before), plain.counts)
    small = torch.cat([crops[image, : counts[image]] for image in images])
    large = torch.cat([wide[image, : counts[image]] for image in images])
    losses = box.losses(box(lambda regions, resolution=None: small, regions, {}, context), regions, {}, context)
    losses |= mask.losses(mask.answer(large), regions, {}, context)
    losses |= keypoint.losses(keypoint.answer(large), regions, {}, context)
    return torch.nn.ModuleList([box, mask, keypoint]), losses


CASES = {f"{name}, {targets}": partial(_dense, name, targets=targets) for name in DENSE for targets in TARGETS} | {
    f"branches, {rows} rows": partial(_branches, rows=rows) for rows in (2, 0)
}


def _gradients(case, images):
    module, losses = CASES[case](images)
    sum(losses.values()).backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}, list(losses)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """The gradients of each of two processes in each case, and the names of its losses."""
    folder = tmp_path_factory.mktemp("processes")
    run_in_processes(_work, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def _work(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save({case: _gradients(case, [rank]) for case in CASES}, f"{folder}/{rank}.pt")
    with torch.no_grad():
        if rank == 0:  # a batch more than the other has: nobody is waited for
            CASES["fcos, both"]([0])
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does(of_two, case):
    expected, names = _gradients(case, [0, 1])
    (first, names_of_first), (second, names_of_second) = (rank[case] for rank in of_two)
    assert names == names_of_first == names_of_second
    for name, gradient in expected.items():
        parts = [part for part in (first[name], second[name]) if part is not None]
        assert (gradient is None) == (not parts)
        if case.endswith("none"):  # divided by at least 1 on every process: there is nothing to compare
            assert all(part.isfinite().all() for part in parts)
        elif parts:
            torch.testing.assert_close(sum(parts) / 2, gradient, rtol=1e-4, atol=1e-6)
