"""What the imitation of a CUDA device refuses, computes and counts."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detkit.ops import nms, roi_align
from detkit.testing.imitation import imitated_device
from detkit.testing.imitation.refusals import CUDA_KERNELS

GPU = torch.device("cuda:0")


def _on(device, *shape, dtype=torch.float32):
    return torch.arange(np.prod(shape), dtype=dtype).reshape(shape).to(device)


REFUSED = {
    "sum": (lambda: _on("cuda", 2) + _on("cpu", 2), "same device"),
    "concatenation": (lambda: torch.cat((_on("cuda", 2), _on("cpu", 2))), "same device"),
    "where": (lambda: torch.where(_on("cpu", 2) > 0, _on("cuda", 2), 0.0), "same device"),
    "in place": (lambda: _on("cpu", 2).add_(_on("cuda", 2)), "same device"),
    "into a number": (lambda: torch.tensor(1.0).add_(_on("cuda", 2)[0]), "same device"),
    "CPU by index": (lambda: _on("cpu", 3)[torch.tensor([1], device="cuda")], "indices should be either on cpu"),
    "CPU by mask": (lambda: _on("cpu", 3)[_on("cuda", 3) > 1], "indices should be either on cpu"),
    "put CPU values": (lambda: _put(_on("cuda", 3), _on("cpu", 2)), "expected self and values"),
    "put half values": (lambda: _put(_on("cuda", 3), _on("cuda", 2).half()), "source and destination dtypes match"),
    "numpy": (lambda: _on("cuda", 3).numpy(), "can't convert cuda:0 device type tensor to numpy"),
    "array": (lambda: np.asarray(_on("cuda", 3)), "can't convert cuda:0 device type tensor to numpy"),
    "generator": (lambda: torch.rand(3, device="cuda", generator=torch.Generator()), "device type for generator"),
    "pinning": (lambda: _on("cuda", 3).pin_memory(), "cannot pin"),
    "mixed group norm": (lambda: _group_norm(_on("cuda", 1, 4, 2, 2)), "mixed dtype"),
    "native op": (lambda: torch.ops.detkit.box_iou(_on("cuda", 1, 4), _on("cpu", 1, 4), "iou"), "same device"),
}


def _put(values, new):
    values[torch.tensor([1, 2], device="cuda")] = new


def _group_norm(maps):
    weight = torch.ones(4, device="cuda")
    return nn.functional.group_norm(maps.bfloat16(), 2, weight, weight)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gpu_refuses(name):
    operation, message = REFUSED[name]
    with imitated_device(), pytest.raises((RuntimeError, TypeError), match=message):
        operation()


def test_numbers_and_indices_of_the_cpu_are_taken():
    with imitated_device():
        values = _on("cuda", 4, 2)
        assert (values * torch.tensor(2.0) + 1).device == GPU
        assert values[torch.tensor([1, 3])].tolist() == [[2, 3], [6, 7]]
        values[0] = 5.0
        values[torch.tensor([1], device="cuda")] = torch.tensor(7.0)
        assert values[:2].tolist() == [[5, 5], [7, 7]]


@pytest.mark.parametrize("inference", [False, True])
def test_what_is_made_on_it_is_there(inference):
    with imitated_device(), torch.inference_mode(inference):
        like = torch.zeros(2, device="cuda")
        made = [
            like,
            torch.tensor([1, 2], device="cuda"),
            torch.as_tensor([1.0], device=like.device),
            torch.as_tensor(np.zeros(2), device=GPU),
            torch.arange(3, device=like.device),
            torch.randperm(3, device="cuda"),
            torch.full((2,), 3, device="cuda"),
            like.new_zeros(3),
            like.new_tensor([1, 2]),
            torch.zeros_like(like),
            torch.zeros(2).cuda(),
            torch.zeros(2).to(like),
            torch.zeros(2).to("cuda", torch.float16),
            nn.functional.one_hot(torch.tensor([1, 0], device="cuda"), 2),
            nn.functional.interpolate(like[None, None], size=4),
        ]
        assert {tensor.device for tensor in made} == {GPU}
        assert all(tensor.is_cuda and not tensor.is_cpu and not tensor.is_meta for tensor in made)
        assert made[1].tolist() == [1, 2]
        assert made[8].dtype == torch.float32
        assert made[8].tolist() == [1, 2]
        left = [
            like.cpu(),
            like.to("cpu"),
            like.to(torch.zeros(1)),
            torch.zeros_like(like, device="cpu"),
            torch.ones(1),
        ]
        assert {tensor.device.type for tensor in left} == {"cpu"}
        assert all(type(tensor) is torch.Tensor for tensor in left)
        assert like.to("cuda") is like


def test_tensors_of_inference_mode_cross_outside_of_it():
    with imitated_device():
        with torch.inference_mode():
            made, there = torch.ones(2), torch.ones(2).to("cuda")
        like = torch.zeros(2, device="cuda")
        moved = [made.to(like), made.to("cuda"), there.to(like), there.float()]
        assert [(one.device, one.tolist()) for one in moved] == [(GPU, [1, 1])] * 4
        assert type(there.cpu()) is torch.Tensor


WAITING = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "condition": lambda x: bool((x > 0).any()),
    "list": lambda x: x.tolist(),
    "nonzero": lambda x: torch.nonzero(x),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "put at mask": lambda x: x.__setitem__(x > 0, 1.0),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().bincount(),
    "repeat": lambda x: x.repeat_interleave(x.long()),
    "equal": lambda x: torch.equal(x, x),
    "to the CPU": lambda x: x.cpu(),
    "into memory of the CPU": lambda x: torch.zeros(4).copy_(x, non_blocking=True),
    "from the CPU": lambda x: torch.zeros(1).to(x.device),
    "new tensor": lambda x: x.new_tensor([1.0]),
    "list as index": lambda x: x[[0, 1]],
    "nms": lambda x: nms(x.reshape(-1, 4), x[:1], 0.5),
}
FREE = {
    "sum": lambda x: x.sum(),
    "slice": lambda x: x[1:],
    "index": lambda x: x[torch.arange(2, device=x.device)],
    "where of three": lambda x: torch.where(x > 0, x, 0.0),
    "repeat": lambda x: x.repeat_interleave(x.long(), output_size=6),
    "from the CPU": lambda x: torch.zeros(1).to(x.device, non_blocking=True),
    "to the CPU": lambda x: x.to("cpu", non_blocking=True),
    "made there": lambda x: torch.zeros(1, device=x.device),
}


@pytest.mark.parametrize("name", WAITING)
def test_a_wait_is_counted_with_its_location(name):
    with imitated_device() as device:
        values = torch.arange(4.0, device="cuda")
        WAITING[name](values)
    assert len(device.waits) == 1
    file = "ops/nms.py" if name == "nms" else "test_imitated_device.py"
    assert device.waits[0].location.startswith(file)


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait(name):
    with imitated_device() as device:
        values = torch.arange(4.0, device="cuda")
        FREE[name](values)
    assert device.waits == []


def test_a_step_is_that_of_the_cpu():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    images = torch.rand(2, 3, 8, 8)
    with imitated_device():
        there = copy.deepcopy(plain).to("cuda")
        for model in (plain, there):
            optimizer = torch.optim.AdamW(model.parameters(), fused=True)
            model(images.to(next(model.parameters()).device)).square().mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        assert all(isinstance(one, nn.Parameter) and one.grad.is_cuda for one in there.parameters())
        copied = copy.deepcopy(there)
        back = there.cpu()
        assert next(copied.parameters()).is_cuda
    assert all(type(one) is nn.Parameter for one in back.parameters())
    for one, other in zip(back.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_native_ops_run_forward_and_backward():
    maps, regions = torch.rand(1, 3, 16, 16), torch.tensor([[0, 1.0, 1, 9, 9]])
    results = []
    with imitated_device():
        for device in ("cpu", "cuda"):
            leaf = maps.clone().to(device).requires_grad_()
            crops = roi_align(leaf, regions.to(device), 7)
            crops.square().sum().backward()
            assert leaf.grad.device.type == device
            results.append((crops.detach().cpu(), leaf.grad.cpu()))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("inference", [False, True])
def test_autocast_is_that_of_a_gpu(inference):
    with imitated_device(), torch.autocast("cuda", torch.bfloat16), torch.inference_mode(inference):
        maps = nn.functional.conv2d(torch.rand(2, 4, 8, 8, device="cuda"), torch.rand(4, 4, 3, 3, device="cuda"))
        dtypes = {
            "convolution": maps.dtype,
            "addition": (maps + 1).dtype,
            "product": (maps @ maps).dtype,
            "exp": maps.exp().dtype,
            "softmax": maps.softmax(1).dtype,
            "sum": maps.sum().dtype,
            "group_norm": nn.functional.group_norm(maps, 2).dtype,
            "interpolation": nn.functional.interpolate(maps, scale_factor=2).dtype,
            "loss": nn.functional.smooth_l1_loss(maps, maps).dtype,
        }
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            nn.functional.binary_cross_entropy(maps.sigmoid(), maps.sigmoid())
        with pytest.raises(RuntimeError, match="source and destination dtypes match"):
            _put(torch.zeros(3, device="cuda"), maps.flatten()[:2])
        with torch.autocast("cuda", enabled=False), pytest.raises(RuntimeError):
            nn.functional.conv2d(maps, torch.rand(4, 4, 3, 3, device="cuda"))
    assert [name for name, dtype in dtypes.items() if dtype == torch.bfloat16] == ["convolution", "addition", "product"]
    assert {dtype for dtype in dtypes.values()} == {torch.bfloat16, torch.float32}


def test_what_has_no_kernel_for_a_gpu_is_refused():
    with imitated_device(), pytest.raises(NotImplementedError, match="detkit::run_areas"):
        torch.ops.detkit.run_areas(torch.zeros(1, dtype=torch.int32, device="cuda"), torch.arange(2, device="cuda"))


def test_its_kernels_are_those_of_the_sources():
    folder = Path(__file__).parents[2] / "csrc" / "cuda"
    listed = {name for file in folder.glob("*.cu") for name in re.findall(r'm\.impl\("(\w+)"', file.read_text())}
    assert {f"detkit::{name}" for name in listed} == CUDA_KERNELS


def test_its_tensors_are_of_no_use_outside():
    with imitated_device():
        values = torch.zeros(2, device="cuda")
    with pytest.raises(RuntimeError, match="outside of"):
        values + 1
