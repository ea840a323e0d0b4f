"""`tools/benchmark.py steps`, dry: on the CPU, with small images."""

import json

import pytest
import torch
from benchmarks import steps
from rich.console import Console


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(steps, "IMAGE_SIZE", (48, 64))


def test_both_programs_train_and_predict(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "MODELS", ("ssdlite320_mobilenet_v3_large", "another"))
    threads = torch.get_num_threads()
    with (console := Console(width=300)).capture() as capture:
        monkeypatch.setattr(steps, "Console", lambda: console)
        steps.benchmark("cpu", threads, 2, 1, "bfloat16", "ssdlite", tmp_path / "steps.json")
    rows = [line for line in capture.get().splitlines() if "ssdlite" in line]
    assert [mode for row in rows for mode in ("train", "predict") if mode in row] == ["train", "predict"]
    for one in json.loads((tmp_path / "steps.json").read_text())["measurements"]:
        assert min(one["seconds"], one["torchvision_seconds"], one["ratio"]) > 0
        assert one["profile"] is None
        assert one["batch_size"] == 2


def test_a_batch_has_masks_where_its_boxes_are():
    scene = steps.Scene.random(2, "cpu")
    assert [image.shape for image in scene.images] == [(3, 48, 64)] * 2
    area = (scene.boxes[1][:, 2:] - scene.boxes[1][:, :2]).prod(1)
    torch.testing.assert_close(scene.masks[1].sum((1, 2)).float(), area, rtol=0.5, atol=20)
    assert all(target.masks is None for target in scene.targets(with_masks=False))
    assert scene.torchvision_targets()[0]["labels"].tolist() == (scene.targets(True)[0].labels + 1).tolist()


def test_a_profile_counts_kernels_and_waits():
    cuda, cpu = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
    events = [("gemm", cuda, 3e4), ("cudaLaunchKernel", cpu, 5.0), ("aten::mm", cpu, 9.0)] * 6
    events += [("cudaStreamSynchronize", cpu, 1e4)] * 3
    profiled = steps.profile_of(events, 0.1)
    assert profiled.busy == pytest.approx(0.6)
    assert (profiled.launches, profiled.waits) == (2, 1)
    one = steps.Measurement("a", "train", 8, 0.1, 0.2, 2.0, 3, profiled)
    with (console := Console(width=300)).capture() as capture:
        console.print(steps.table([one], "cuda", "bfloat16"))
    assert all(text in capture.get() for text in ("60%", "80", "40", "2.00"))
