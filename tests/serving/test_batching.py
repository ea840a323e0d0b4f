"""Requests at the same time: each gets its own answer, they share batches, and too many are refused."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from serving_cases import encoded, form, pixels, small_model

from detkit.errors import InputError
from detkit.serving import Limits, application
from detkit.serving.batching import BatchingWorker
from detkit.serving.uploads import Upload
from detkit.tasks import task_of

SIZE = (60, 80)


class Gate:
    """Holds the first batch of a model until it is opened, and notes how many images each batch has."""

    def __init__(self, model, monkeypatch) -> None:
        self.opened, self.begun, self.batches = threading.Event(), threading.Event(), []
        predict = model.predict

        def held(images, batch_size):
            self.batches.append(len(images))
            self.begun.set()
            assert self.opened.wait(60)
            return predict(images, batch_size)

        monkeypatch.setattr(model, "predict", held)


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def gate(model, monkeypatch):
    return Gate(model, monkeypatch)


def upload(seed: int, size: tuple[int, int] = SIZE) -> Upload:
    return Upload(f"{seed}.png", encoded(seed, size))


def held_worker(model, gate, batch_size: int) -> tuple[BatchingWorker, object]:
    """A worker that is busy with one image."""
    worker = BatchingWorker(model, batch_size)
    (first,) = worker.submit([(upload(0), SIZE)])
    assert gate.begun.wait(60)
    return worker, first


class TestBatches:
    def test_are_made_of_what_waits(self, model, gate):
        worker, first = held_worker(model, gate, batch_size=8)
        others = [worker.submit([(upload(seed), SIZE)])[0] for seed in range(1, 20)]
        gate.opened.set()
        answered = [future.result(60) for future in [first, *others]]
        assert gate.batches == [1, 8, 8, 3]
        assert all((one.pixels == pixels(seed)).all() for seed, one in enumerate(answered))

    def test_hold_images_of_one_size_in_the_network(self, model, gate):
        worker, _ = held_worker(model, gate, batch_size=8)
        tall, wide = (80, 60), (120, 160)  # which is as `SIZE` to the network
        sizes = [tall, SIZE, tall, wide, SIZE]
        futures = [worker.submit([(upload(1, size), size)])[0] for size in sizes]
        gate.opened.set()
        assert [future.result(60).pixels.shape[:2] for future in futures] == sizes
        assert gate.batches == [1, 2, 3]

    def test_leave_out_whoever_does_not_wait_any_more(self, model, gate):
        worker, _ = held_worker(model, gate, batch_size=8)
        gone, stays = (worker.submit([(upload(seed), SIZE)])[0] for seed in (1, 2))
        assert gone.cancel()
        gate.opened.set()
        stays.result(60)
        assert gate.batches == [1, 1]

    def test_lose_no_image_to_a_broken_one(self, model, gate):
        worker, _ = held_worker(model, gate, batch_size=8)
        broken = Upload("broken.png", encoded()[:100])
        good, bad, last = worker.submit([(upload(1), SIZE), (broken, SIZE), (upload(2), SIZE)])
        gate.opened.set()
        with pytest.raises(InputError, match=r"broken\.png: .* cut short"):
            bad.result(60)
        assert (good.result(60).pixels == pixels(1)).all()
        assert (last.result(60).pixels == pixels(2)).all()

    def test_lose_no_image_to_one_that_the_model_cannot_take(self, model, monkeypatch):
        predict = model.predict

        def fails_for_the_second(images, batch_size):
            if any((image == pixels(2)).all() for image in images):
                raise RuntimeError("out of memory")
            return predict(images, batch_size)

        monkeypatch.setattr(model, "predict", fails_for_the_second)
        first, second, third = BatchingWorker(model, 8).submit([(upload(seed), SIZE) for seed in (1, 2, 3)])
        assert (first.result(60).pixels == pixels(1)).all()
        assert (third.result(60).pixels == pixels(3)).all()
        with pytest.raises(RuntimeError, match="out of memory"):
            second.result(60)


def gathered(app, count: int, opened: threading.Event) -> list[httpx.Response]:
    """The answers of so many requests at the same time, which are held until all have arrived or been refused."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            url = "/predict?score=0"
            asked = [
                asyncio.ensure_future(client.post(url, files=form(encoded(seed), names=[f"{seed}.png"])))
                for seed in range(count)
            ]
            facts = {"waiting": -1}
            while facts["waiting"] + sum(one.done() for one in asked) < count:
                facts = (await client.get("/health")).json()
            opened.set()
            return await asyncio.gather(*asked)

    return asyncio.run(run())


def test_twenty_requests_get_their_own_answers(model, gate, monkeypatch):
    task = task_of(model)
    answers = gathered(application(model, Limits(batch_size=8)), 20, gate.opened)
    assert sum(gate.batches) == 20
    assert len(gate.batches) < 20
    monkeypatch.undo()
    for seed, answer in enumerate(answers):
        (entry,) = answer.json()["images"]
        own = task.results(model.predict(pixels(seed)), model.categories)
        assert entry["file_name"] == f"{seed}.png"
        scores = [one["score"] for one in entry["results"]]
        assert scores == pytest.approx([one["score"] for one in own], abs=1e-6)


def test_more_than_may_wait_are_told_to_come_back(model, gate):
    app = application(model, Limits(max_waiting=3))
    answers = gathered(app, 8, gate.opened)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 5
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert refused[0].json() == {"detail": "3 requests are waiting already: try again later."}
    assert [answer.status_code for answer in answers if answer not in refused] == [200] * 3
    assert gathered(app, 1, gate.opened)[0].status_code == 200  # places are given back
