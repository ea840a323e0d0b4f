"""The endpoints: answers as of `predict`, drawn images, what is said of the model."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from serving_cases import EVIL, client_of, encoded, form, pixels, small_model

import detkit
from detkit.errors import InputError
from detkit.files import json_text
from detkit.serving import Limits, application
from detkit.structures import Target, WeightsSource
from detkit.tasks import task_of


def expected(model, inputs, score: float) -> list[dict]:
    """The results of `predict` for an image, as they are in JSON."""
    task = task_of(model)
    return json.loads(json_text(task.results(task.select(model.predict(inputs), score), model.categories)))


class TestPredict:
    @pytest.mark.parametrize("family", ["faster", "mask", "keypoint", "yolo", "classifier", "localizer"])
    def test_answers_as_predict_does_for_any_task(self, family, tmp_path):
        model = small_model(family)
        path = tmp_path / "turned.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels()).save(path, exif=exif)
        answer = client_of(model).post("/predict?score=0", files=form(path.read_bytes())).json()
        results = expected(model, path, 0)
        assert results
        assert answer == {"images": [{"file_name": "0.png", "width": 60, "height": 80, "results": results}]}

    def test_several_images_each_as_by_itself(self):
        """Also of different sizes, of which `predict` would pad the smaller ones."""
        model = small_model()
        files = [encoded(0), encoded(1, (40, 90)), encoded(2), encoded(3, (80, 60))]
        entries = client_of(model).post("/predict?score=0.2", files=form(*files)).json()["images"]
        assert [one["file_name"] for one in entries] == ["0.png", "1.png", "2.png", "3.png"]
        for seed, entry in enumerate(entries):
            alone = expected(model, pixels(seed, (entry["height"], entry["width"])), 0.2)
            assert [one["category_id"] for one in entry["results"]] == [one["category_id"] for one in alone]
            for own, other in zip(entry["results"], alone, strict=True):
                assert own["score"] == pytest.approx(other["score"], abs=1e-6)
                assert own["bbox"] == pytest.approx(other["bbox"], abs=1e-4)

    def test_the_default_score_is_that_of_the_command_predict(self):
        model = small_model()
        answer = client_of(model).post("/predict", files=form(encoded())).json()
        assert answer["images"][0]["results"] == expected(model, pixels(), task_of(model).least_score)

    def test_a_broken_file_does_not_lose_the_others(self):
        answer = client_of().post("/predict", files=form(encoded(), encoded()[:90], encoded(1)))
        assert answer.status_code == 200
        first, broken, last = answer.json()["images"]
        assert broken == {
            "file_name": "1.png",
            "error": "1.png: this image file is cut short; copy or download it again",
        }
        assert "results" in first
        assert "results" in last

    def test_names_of_files_stay_as_they_are_and_are_no_paths(self):
        names = ["../../etc/passwd", EVIL, "ü.png"]
        answer = client_of().post("/predict", files=form(encoded(), encoded(), b"GIF8", names=names)).json()
        assert [one["file_name"] for one in answer["images"]] == names
        assert answer["images"][2]["error"].startswith("ü.png: ")

    def test_a_model_that_fails_is_logged_and_not_told(self, caplog, monkeypatch):
        model = small_model()
        monkeypatch.setattr(model, "predict", lambda *_, **__: 1 / 0)
        answer = client_of(model).post("/predict", files=form(encoded()))
        assert (answer.status_code, answer.json()) == (
            500, {"detail": "The model failed; the log of the server says why."},
        )  # fmt: skip
        assert "ZeroDivisionError" in caplog.text

    def test_a_model_that_refuses_an_image_names_the_file(self, monkeypatch):
        model = small_model()

        def refuse(images, batch_size):
            raise InputError("inputs[0] is too small")

        monkeypatch.setattr(model, "predict", refuse)
        answer = client_of(model).post("/predict", files=form(encoded()))
        assert (answer.status_code, answer.json()) == (422, {"detail": "0.png: inputs[0] is too small"})


class TestDrawnImages:
    def test_in_json(self):
        entry = client_of().post("/predict?score=0&image=true", files=form(encoded())).json()["images"][0]
        assert entry["image"].startswith("data:image/jpeg;base64,/9j/")

    @pytest.mark.parametrize("family", ["mask", "keypoint", "classifier"])
    def test_as_png_of_one_image(self, family):
        model, image = small_model(family), pixels(size=(200, 400))
        files = form(encoded(size=(200, 400)))
        answer = client_of(model).post("/predict?score=0", files=files, headers={"Accept": "image/png"})
        assert answer.headers["content-type"] == "image/png"
        drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR_RGB)
        own = task_of(model).draw(image, model.predict(image), model.categories, score_threshold=0.0)
        assert np.array_equal(drawn, own)
        assert not np.array_equal(drawn, image)

    def test_as_png_of_several_is_refused(self):
        answer = client_of().post("/predict", files=form(encoded(), encoded()), headers={"Accept": "image/png"})
        assert answer.status_code == 422
        assert "for one image, not for 2" in answer.json()["detail"]


def test_health_describes_the_model():
    model = small_model()
    model.provenance = (WeightsSource("mine", "here", "MIT"),)
    facts = client_of(model, max_images=3).get("/health").json()
    assert (facts["status"], facts["model"], facts["task"]) == ("ok", "FasterRCNN", "detection")
    assert facts["classes"] == [category.name for category in model.categories]
    assert facts["licenses"] == [{"name": "mine", "source": "here", "license": "MIT"}]
    assert (facts["version"], facts["waiting"], facts["limits"]["max_images"]) == (detkit.__version__, 0, 3)


def test_the_schema_has_the_form_of_an_upload():
    schema = client_of().get("/openapi.json").json()
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["properties"]["images"]["items"] == {"type": "string", "format": "binary"}
    assert client_of().get("/docs").status_code == 404  # FastAPI's page loads scripts from elsewhere


def test_can_be_mounted_in_another_application():
    outer = FastAPI()
    outer.mount("/detect", application(small_model(), Limits(max_images=1)))
    client = TestClient(outer)
    assert client.post("/detect/predict", files=form(encoded())).status_code == 200
    assert client.post("/detect/predict", files=form(encoded(), encoded())).status_code == 413
    assert "fetch(`predict" in client.get("/detect/").text  # relative to the page


def test_refuses_a_model_that_needs_more_than_an_image():
    with pytest.raises(InputError, match=r"FastRCNN asks for proposals .*`detkit predict --given`"):
        application(small_model("fast"))


class TestCameras:
    def test_one_focal_length_serves_all_images(self, tmp_path):
        model = small_model("mesh")
        client = TestClient(application(model, focal_length=60))
        image = encoded()
        (tmp_path / "a.png").write_bytes(image)
        height, width = cv2.imread(str(tmp_path / "a.png")).shape[:2]
        camera = torch.tensor([[60, 0, width / 2], [0, 60, height / 2], [0, 0, 1]])
        answer = model.predict(str(tmp_path / "a.png"), given=Target(camera=camera))
        entry = client.post("/predict?score=0", files=form(image)).json()["images"][0]
        meshes = [one["mesh"] for one in entry["results"]]
        assert [one["faces"] for one in meshes] == answer.meshes.topology.face_counts.tolist()
        low = [own.amin(dim=0).tolist() for own in answer.meshes.vertices_list()]
        assert [one["bounds"][0] for one in meshes] == [pytest.approx(own, abs=1e-5) for own in low]
        scene = client.post("/predict?score=0&file=meshes.glb", files=form(image))
        assert scene.status_code == 200
        assert scene.content.startswith(b"glTF")
        assert client.post("/predict?image=true", files=form(image)).status_code == 200

    @pytest.mark.parametrize(
        ("family", "focal_length", "said"),
        [
            (
                "mesh",
                None,
                "MeshRCNN asks for camera of each image, which no upload has: use --focal_length, or",
            ),
            ("mesh", 0.0, "the focal length is 0; give it in pixels, more than 0"),
            ("fast", 60.0, "focal_length gives cameras, and the FastRCNN asks for proposals: leave it out"),
            ("retinanet", 60.0, "focal_length gives cameras, and the RetinaNet asks for none: leave it out"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, family, focal_length, said):
        with pytest.raises(InputError, match=re.escape(said)):
            application(small_model(family), focal_length=focal_length)
