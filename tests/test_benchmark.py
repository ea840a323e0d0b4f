"""tools/benchmark.py: what it measures and writes, on work that takes no time."""

import json

import cv2
import pytest
import torch
from benchmarks import coco, dense, loader, ops, paired_times
from fake_clock import FakeClock
from rich.console import Console

from detkit.data import ShapesOptions, draw_shapes


@pytest.fixture
def clock(monkeypatch):
    """The clock that is read."""
    clock = FakeClock()
    monkeypatch.setattr(paired_times, "time", clock)
    return clock


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_the_ratio_is_their_time_over_ours(clock):
    case = paired_times.Case("sleep", lambda: clock.advance(0.001), lambda: clock.advance(0.003))
    measured = paired_times.measure(case, 10, clock.process_time)
    assert measured.repetitions == 10
    assert (measured.ours, measured.theirs) == pytest.approx((0.001, 0.003))
    assert (measured.ratio, measured.ratio_low, measured.ratio_high) == pytest.approx((3, 3, 3))
    assert measured.gain is None  # by the processor's time threads gain nothing
    assert measured.device is None


def test_the_gain_of_threads_is_the_time_of_one_over_that_of_all(clock, two_threads):
    case = paired_times.Case(
        "shared", lambda: clock.advance(0.008 / torch.get_num_threads()), lambda: clock.advance(0.02)
    )
    measured = paired_times.measure(case, 10, clock.perf_counter)
    assert measured.gain == pytest.approx(2)
    assert measured.ratio == pytest.approx(5)
    assert torch.get_num_threads() == 2


def test_a_case_in_which_the_other_side_is_slow_gets_few_samples(clock):
    case = paired_times.Case("slow", lambda: clock.advance(1), lambda: clock.advance(paired_times.LONG_RUN + 1))
    assert paired_times.measure(case, 10, clock.process_time).repetitions == paired_times.SAMPLES_OF_LONG_RUNS


def test_what_a_gpu_tells_is_shown_where_there_is_one(tmp_path):
    device = paired_times.DeviceMeasurement(2**20, 3 * 2**20, kernels=2e-3, bound=1e-3)
    measurements = [
        paired_times.Measurement("a", 1e-3, 4e-3, 4, 3, 5, 11, device=device),
        paired_times.Measurement("b", 1e-3, 4e-3, 4, 3, 5, 11, device=paired_times.DeviceMeasurement(0, 2**21)),
    ]
    with (console := Console(width=300)).capture() as capture:
        console.print(ops.table(measurements, 1))
    rows = [line.split() for line in capture.get().splitlines() if " a " in line or " b " in line]
    assert [cell for cell in rows[0] if cell != "│"][-5:] == ["2.0000", "1.0000", "50%", "1.0", "3.0"]
    assert [cell for cell in rows[1] if cell != "│"][-2:] == ["0.0", "2.0"]
    ops.write_json(tmp_path / "out.json", measurements, 1)
    assert json.loads((tmp_path / "out.json").read_text())["measurements"][0]["device"]["bound"] == 1e-3


@pytest.mark.gpu
def test_memory_and_bounds_are_measured_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    numbers = torch.ones(2**22, device="cuda")
    case = paired_times.Case("add", lambda: numbers + 1, lambda: numbers + numbers + 1, bytes_moved=2 * 2**24)
    torch.set_default_device("cuda")
    try:
        device = paired_times.measure(case, 10, paired_times.device_clock).device
    finally:
        torch.set_default_device("cpu")
    assert device.our_memory == 2**24
    assert device.their_memory == 2 * 2**24
    assert 0.3 < device.bound / device.kernels < 2


@pytest.mark.parametrize("iou_type", ["segm", "keypoints"])
def test_coco_evaluations_are_measured_in_processes_of_their_own(monkeypatch, tmp_path, iou_type):
    monkeypatch.setitem(coco.SIZES, iou_type, coco.Size(images=20, objects=60, detections=200, classes=3))
    expected = {name: program for name, program in coco.PROGRAMS.items() if name in ("detkit", "pycocotools")}
    monkeypatch.setattr(coco, "PROGRAMS", expected)
    coco.benchmark(iou_type, 1, tmp_path / "coco.json")
    ours, reference = json.loads((tmp_path / "coco.json").read_text())
    assert 0 < ours["ap"] < 1
    assert ours["ap"] == pytest.approx(reference["ap"], abs=1e-12)
    assert min(ours["seconds"], reference["seconds"], reference["megabytes"]) > 0


def test_dense_evaluation_is_measured_beside_crops(monkeypatch, tmp_path):
    monkeypatch.setattr(dense, "CASES", [("alexnet", False, (256, 288))])
    monkeypatch.setattr(dense, "CROPS", 1)
    dense.benchmark(1, 2, tmp_path / "dense.json")
    (measured,) = json.loads((tmp_path / "dense.json").read_text())["measurements"]
    assert measured["positions"] == 2 * 3
    assert measured["stride"] == 32
    assert measured["dense_cost"] == measured["one_pass_cost"] > measured["features_cost"]
    ratio = 6 * measured["crop_seconds"] / measured["dense_seconds"]
    assert measured["times_faster"] == pytest.approx(ratio)


def test_the_loader_is_measured_beside_others(monkeypatch, tmp_path, capsys):
    """On drawn images, in a turn of one batch."""
    monkeypatch.setattr(loader, "BATCHES_PER_ROUND", 1)
    root = draw_shapes(tmp_path / "shapes", ShapesOptions(counts={"train": 9, "val": 1}, image_size=(32, 48)))
    threads = torch.get_num_threads(), cv2.getNumThreads()
    loader.benchmark(root, 2, tmp_path / "out.json")
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    sides = json.loads((tmp_path / "out.json").read_text())["sides"]
    assert list(sides) == ["OpenCV decoding", "detkit", "torchvision v2"]
    assert sides["OpenCV decoding"]["share"] == 1
    printed = capsys.readouterr().out
    assert all(f"{side['share']:.2f}" in printed for side in sides.values())
