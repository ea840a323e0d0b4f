"""What a loader cannot give ends a run with a sentence, within seconds."""

import gc
import signal

import pytest


@pytest.fixture(autouse=True)
def no_dead_workers():
    yield
    gc.collect()  # torch reports the dead workers of a loader for as long as it exists


@pytest.fixture
def train(recipe, detkit_command):
    def run(how: str, workers: int, name: str = "Failing"):
        dataset = {"class_path": f"failing_data.{name}", "init_args": {"how": how}}
        data = {"root": None, "dataset": dataset, "num_workers": workers}
        return detkit_command("train", "--config", recipe(data=data))

    return run


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("how", "field"),
    [
        ("OSError", "Input/output error"),
        ("MemoryError", "no memory left"),
        ("float image", "(H, W, 3) uint8 RGB, not ndarray (32, 32, 3) float32"),
        ("gray image", "(H, W, 3) uint8 RGB, not ndarray (32, 32) uint8"),
        ("double boxes", "Target.boxes must be torch.float32, got torch.float64"),
        ("int labels", "Target.labels must be torch.int64, got torch.int32"),
        ("lost label", "Target.labels must have shape (1,)"),
        ("nan box", "finite Target.boxes"),
    ],
)
def test_wrong_data_is_a_sentence_with_its_image_and_field(train, how, field, workers):
    status, said = train(how, workers)
    assert status == 2, said
    assert said.count("\n") == 1
    assert "Failing, image 3 (id 'image3')" in said
    assert field in said


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_class_itself_keeps_its_traceback_and_names_the_image(train, workers):
    with pytest.raises(KeyError) as raised:
        train("KeyError", workers)
    told = f"{raised.value} {getattr(raised.value, '__notes__', '')}"
    assert "no such entry" in told
    assert "image 3 (id 'image3')" in told


@pytest.mark.parametrize("how", ["kill", pytest.param("bus", marks=pytest.mark.slow)])
def test_a_killed_worker_is_a_sentence(train, how):
    status, said = train(how, 1)
    assert status == 2, said
    assert "A worker process of the loader" in said.splitlines()[-1]  # torch announces a bus error itself before
    assert "shared memory" in said
    assert "num_workers" in said


def test_full_shared_memory_is_a_sentence(train):
    status, said = train("", 1, "Unsendable")
    assert status == 2, said
    assert said.count("\n") == 1
    assert "shared memory" in said
    assert "num_workers" in said


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_that_waits_for_a_batch(train, monkeypatch, workers):
    monkeypatch.setattr("detkit.engine.callbacks.signals.PATIENCE", 0.2)
    status, said = train("sleep", workers)  # and ask the main process to stop
    assert status == 128 + signal.SIGTERM, said
    assert "the loader has given no batch" in said
