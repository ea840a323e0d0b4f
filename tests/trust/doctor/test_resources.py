"""Memory and worker processes that do not suffice are named."""

from __future__ import annotations

import pytest
import torch
from patients import HEALTHY, ssd, subject, write_data

from detkit.trust.doctor.checklist import CHECKS, examine
from detkit.trust.doctor.trials import memory_check, process_memory, worker_check
from detkit.trust.doctor.trials.memory_check import check_memory
from detkit.trust.doctor.trials.worker_check import check_workers


@pytest.fixture
def made(tmp_path):
    return subject(write_data(tmp_path / "data", HEALTHY), ssd())


def test_a_step_fits_in_memory(made, monkeypatch):
    monkeypatch.setattr(memory_check, "free_memory", lambda device: 2**60)  # whatever else this machine does
    finding = check_memory(made)
    assert finding.verdict == "passed"
    assert set(finding.numbers["peaks"]) == {"largest images", "most objects"}
    assert min(finding.numbers["peaks"].values()) > 2**27  # torch alone takes more


def test_a_step_that_does_not_fit_is_not_tried(made, monkeypatch):
    monkeypatch.setattr(memory_check, "free_memory", lambda device: -(2**60))
    sizes = []
    peak = memory_check._peak
    monkeypatch.setattr(memory_check, "_peak", lambda *a: sizes.append(len(a[1])) or peak(*a))
    finding = check_memory(made)
    assert finding.verdict == "failed"
    assert "data.batch_size" in finding.notes[0]
    assert set(sizes) == {1}


def test_memory_that_runs_out_is_named(made, monkeypatch):
    def out_of_memory(trial, indices):
        if len(indices) > 1:
            raise torch.OutOfMemoryError
        return 0

    monkeypatch.setattr(memory_check, "_peak", out_of_memory)
    finding = check_memory(made)
    assert finding.verdict == "failed"
    assert "needs more" in finding.sentence


def _group(root, version: int, limit: str, used: str) -> None:
    """Files of a memory limit as a container has them."""
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder = root / ("" if version == 2 else "memory") / "pods" / "mine"
    folder.mkdir(parents=True)
    for name, text in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{text}\n")
    cache = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\n{cache} 100\n")
    (root / "self").mkdir()
    (root / "self/cgroup").write_text("0::/pods/mine/job\n" if version == 2 else "4:cpu,memory:/pods/mine/job\n")
    (root / "meminfo").write_text("MemAvailable: 9999999 kB\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limit", "left"), [("3000", 1100), ("max", 9999999 * 1024), (str(2**63 - 4096), 9999999 * 1024)]
)
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, version, limit, left):
    _group(tmp_path, version, limit, "2000")
    monkeypatch.setattr(process_memory, "_PROC", tmp_path)
    monkeypatch.setattr(process_memory, "_CGROUPS", tmp_path)
    assert process_memory.free_memory(torch.device("cpu")) == left


def test_the_peak_is_what_is_held_at_once():
    with process_memory.peak_memory(torch.device("cpu")) as peak:
        before = process_memory.held_memory(torch.device("cpu"))
        block = torch.ones(2**25)
        del block
    assert peak[0] - before >= 2**26


def test_workers_that_suffice(made):
    finding = check_workers(made)
    assert (finding.verdict, finding.numbers["images"]) == ("passed", 2)


def test_shared_memory_that_does_not_suffice_is_named(made, monkeypatch):
    monkeypatch.setattr(worker_check, "_free_shared", lambda: 1000)
    made.data.num_workers = 1
    finding = check_workers(made)
    assert finding.verdict == "failed"
    assert "--shm-size" in finding.notes[0]
    assert "images" not in finding.numbers  # none was loaded by a worker


def test_more_workers_than_cores_are_named(made, monkeypatch):
    monkeypatch.setattr(worker_check, "_cores", lambda: 0)
    made.data.num_workers = 1
    assert check_workers(made).verdict == "warning"


def test_a_check_that_breaks_has_failed_and_others_go_on(made, monkeypatch):
    def broken(subject):
        raise KeyError("mine")

    monkeypatch.delenv("DETKIT_DEBUG", raising=False)
    monkeypatch.setattr("detkit.trust.doctor.checklist.CHECKS", {**CHECKS, "classes": broken})
    skip = set(CHECKS) - {"classes", "annotations"}
    findings = {finding.check: finding for finding in examine(made, skip)}
    assert findings["classes"].verdict == "failed"
    assert "KeyError" in findings["classes"].sentence
    assert findings["annotations"].sentence == "the training data has 3 images"
    assert findings["memory"].verdict == "skipped"
