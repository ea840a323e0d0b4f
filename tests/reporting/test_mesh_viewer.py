"""Meshes on the page: what is bundled, which distances predictions get, and the viewer in a real browser."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from headless_browser import Browser, find_chromium
from report_cases import EVIL

from detkit.data import Shapes3D
from detkit.evaluation.meshes.given_meshes import in_units_of_depth
from detkit.rendering import rasterize
from detkit.reporting import Evaluated, MeshScene, Page, PageOptions, Section, mesh_viewer, page_html
from detkit.reporting.parts import compact_mesh
from detkit.reporting.parts.compact_mesh import compact_scene
from detkit.reporting.sections.mesh_sections import at_true_distances, mesh_section, worth_showing
from detkit.structures import Detections, Meshes, Target
from detkit.structures.meshes import icosphere
from detkit.tasks import MeshDetection, Reconstruction
from detkit.visualization.meshes.turntable import toward

WIDTH, HEIGHT = 480, 400


def unpacked(scene):
    """Vertices and faces of a scene, as a reader of the JSON sees them."""
    points, faces = (np.frombuffer(base64.b64decode(scene[key]), "<u2").reshape(-1, 3) for key in ("vertices", "faces"))
    return np.array(scene["low"]) + scene["step"] * points.astype(float), faces.astype(int)


def contents_of(parts):
    texts = re.findall(r'<script type="application/json">(.*?)</script>', "".join(parts))
    return [json.loads(text) for text in texts]


def perfect(_, targets):
    return [MeshDetection().truth(target) for target in targets]


@pytest.fixture(scope="module")
def dataset():
    dataset = Shapes3D("val", counts={"val": 3}, image_size=(96, 128))
    return dataset.reading({"masks", "meshes", "camera"})


class TestCompactScene:
    def test_rounds_to_sixteen_bits(self):
        ball = icosphere(2)
        mesh = ball.with_vertices(ball.vertices * 3 + torch.tensor([0, -7.0, 40]))
        meshes = Meshes.cat([mesh, Meshes([torch.zeros(0, 3)], [torch.zeros(0, 3).long()]), ball])
        scene = compact_scene(meshes, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
        points, faces = unpacked(scene)
        assert np.abs(points - meshes.vertices.numpy()).max() < 45 / 65535
        assert (faces == meshes.faces.numpy()).all()
        assert [one["faces"] for one in scene["objects"]] == [320, 0, 320]
        assert [one["color"] for one in scene["objects"]] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        assert not scene["simplified"]

    def test_without_objects_or_extent(self):
        assert unpacked(compact_scene(Meshes([], []), []))[0].shape == (0, 3)
        point = Meshes([torch.ones(3, 3)], [torch.tensor([[0, 1, 2]])])
        points, faces = unpacked(compact_scene(point, [(0, 0, 0)]))
        assert (points == 1).all()
        assert len(faces) == 1

    def test_vertices_that_no_face_names_are_left_out(self):
        mesh = Meshes([torch.arange(15.0).view(5, 3)], [torch.tensor([[4, 1, 3]])])
        points, faces = unpacked(compact_scene(mesh, [(0, 0, 0)]))
        assert points[faces[0]] == pytest.approx(mesh.vertices[[4, 1, 3]].numpy(), abs=1e-3)
        assert len(points) == 3

    def test_large_scenes_are_simplified(self, monkeypatch):
        monkeypatch.setattr(compact_mesh, "MOST_FACES", 1500)
        ball = icosphere(4)
        meshes = Meshes.cat([ball, ball.with_vertices(ball.vertices + torch.tensor([1.5, 0, 0]))])
        scene = compact_scene(meshes, [(0, 0, 0), (1, 1, 1)])
        points, faces = unpacked(scene)
        assert scene["simplified"]
        assert 500 < len(faces) <= 1500
        assert sum(one["faces"] for one in scene["objects"]) == len(faces)
        first = faces[: scene["objects"][0]["faces"]]
        assert np.abs(np.linalg.norm(points[first], axis=-1) - 1).max() < 0.05
        assert not set(first.ravel()) & set(faces[len(first) :].ravel())  # objects stay apart
        corners = points[first]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((normals * corners.mean(axis=1)).sum(axis=1) > 0).mean() > 0.95  # and keep their outside


class TestSection:
    def test_truth_stands_beside_the_prediction(self, dataset):
        (section,) = mesh_section(Evaluated({}, dataset, PageOptions(images=2), perfect))
        assert section.title == "Meshes"
        page = "".join(section.parts)
        assert "2 of 3 images are shown." in page
        contents = contents_of(section.parts)
        assert [len(one["scenes"]) for one in contents] == [2, 2]
        for content, index in zip(contents, (0, 2), strict=True):
            truth, prediction = (unpacked(scene) for scene in content["scenes"])
            assert (truth[1] == prediction[1]).all()
            assert np.abs(truth[0] - prediction[0]).max() < 1e-3 * content["radius"]
            assert np.abs(truth[0] - dataset.read(index)[1].meshes.vertices.numpy()).max() < 1e-3 * content["radius"]

    def test_is_left_out_without_images_or_a_model(self, dataset):
        assert mesh_section(Evaluated({}, dataset, PageOptions(images=0), perfect)) == []
        assert mesh_section(Evaluated({}, dataset, PageOptions())) == []

    def test_without_truth_or_detections(self, dataset):
        unread = Shapes3D("val", counts={"val": 1})
        none = replace(Detections.empty(), meshes=Meshes([], []), camera=torch.eye(3))
        (section,) = mesh_section(Evaluated({}, unread, PageOptions(), lambda *_: [none]))
        assert "prediction: nothing" in "".join(section.parts)
        (content,) = contents_of(section.parts)
        assert [unpacked(scene)[1].size for scene in content["scenes"]] == [0]
        sections = MeshDetection().report(Evaluated({}, dataset, PageOptions(images=1), lambda *_: [none]))
        assert [one.name for one in sections] == ["meshes"]

    def test_of_one_object_for_each_image(self):
        dataset = Shapes3D("val", counts={"val": 2}, max_objects=1, centered=True).reading({"meshes", "camera"})
        task = Reconstruction()
        sections = task.report(Evaluated({}, dataset, PageOptions(), lambda _, targets: [task.truth(targets[0])]))
        contents = contents_of(sections[-1].parts)
        assert len(contents) == 2
        for content in contents:
            truth, prediction = content["scenes"]
            assert truth == prediction

    def test_of_an_object_the_best_detection_is_shown(self):
        """Of no object the certain ones; two on the first object, of another class and with a lower score, hide."""
        boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
        objects = Target(boxes, torch.zeros(3, dtype=torch.int64))
        alone = torch.tensor([[60.0, 0, 70, 10], [63, 0, 73, 10], [80, 0, 90, 10]])
        own = torch.cat((boxes[[0, 0, 0, 1, 2]] + torch.tensor([1, 0, 0, 0, 6])[:, None], alone))
        scores = torch.tensor([0.6, 0.9, 0.4, 0.35, 0.49, 0.5, 0.95, 0.45])
        found = Detections(own, scores, torch.tensor([0, 1, 0, 1, 0, 0, 0, 0]))
        shown = worth_showing(found, objects, 0.3)
        assert shown.scores.tolist() == scores[[6, 1, 5, 3]].tolist()
        assert shown.labels.tolist() == [0, 1, 0, 1]
        assert worth_showing(found, objects, 0.8).scores.tolist() == scores[[6, 1]].tolist()
        nothing_known = worth_showing(found, replace(objects, boxes=None), 0.3)
        assert nothing_known.scores.tolist() == scores[[6, 1, 0, 5]].tolist()
        assert len(worth_showing(Detections.empty(), objects, 0.3)) == 0

    def test_objects_hidden_by_others_of_them_are_left_out(self, dataset):
        """Of the meshes, and of the sentence above them."""

        def several(_, targets):
            (truth,) = perfect(None, targets)
            twice = truth[torch.arange(len(truth)).repeat(2)]
            return [replace(twice, scores=torch.linspace(1, 0.4, len(twice)))]

        evaluated = Evaluated({}, dataset, PageOptions(images=1), several)
        (section,) = mesh_section(evaluated)
        (content,) = contents_of(section.parts)
        truth, prediction = content["scenes"]
        assert len(prediction["objects"]) == len(truth["objects"]) > 0
        page = "".join(section.parts)
        assert "IoU is above 0.3. Of each object the detection with the highest score is shown" in page
        assert f"if the score is at least {evaluated.options.score_threshold:g}. Detections of no object" in page

    def test_detections_of_no_object_get_the_median_distance(self):
        ball = icosphere(1)
        truth = Meshes([ball.vertices + torch.tensor([0, 0, z]) for z in (2.0, 4, 9)], [ball.faces] * 3)
        boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
        objects = Target(boxes, torch.zeros(3, dtype=torch.int64), meshes=truth)
        own = torch.stack((boxes[2] + 1, boxes[0], boxes[1] + 8))
        found = Detections(own, torch.ones(3), torch.zeros(3, dtype=torch.int64), meshes=in_units_of_depth(truth))
        factors = at_true_distances(found, objects).vertices / found.meshes.vertices
        assert torch.unique(factors.view(3, -1)[:, 2::3].round(decimals=3), dim=1).tolist() == [[9], [2], [4]]
        assert at_true_distances(found, replace(objects, meshes=None)) is found.meshes


@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")
class TestInABrowser:
    @pytest.fixture(scope="class")
    def opened(self, tmp_path_factory):
        """A page with a viewer of two scenes."""
        folder = tmp_path_factory.mktemp("meshes")
        ball, gem = icosphere(2), icosphere(0)
        near = ball.vertices * 0.5 + torch.tensor([-1.0, 0.2, 4])
        far = gem.vertices * torch.tensor([0.3, 0.9, 0.3]) + torch.tensor([-0.9, -0.3, 5.5])
        scene = Meshes([near, far], [ball.faces, gem.faces])
        scenes = [
            MeshScene(f"truth: {EVIL}", scene, [(250, 0, 0), (0, 0, 250)]),
            MeshScene("prediction: ball", scene[0], [(0, 250, 0)]),
        ]
        section = Section("meshes", "Meshes", [mesh_viewer(EVIL, scenes, None, 300)])
        (folder / "page.html").write_text(page_html(Page("meshes", "", [section])), encoding="utf-8")
        with Browser(folder / "profile") as browser:
            browser.open((folder / "page.html").as_uri())
            browser.settle()
            yield browser, scene

    def pixels(self, browser, index=0):
        text = browser.evaluate(
            f"(() => {{ const one = document.querySelectorAll('.meshes canvas')[{index}]; let text = ''; "
            "for (const value of one.getContext('2d').getImageData(0, 0, one.width, one.height).data) "
            "text += String.fromCharCode(value); return btoa(text) })()"
        )
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(HEIGHT, WIDTH, 4)

    def key(self, browser, key):
        browser.evaluate(
            "document.querySelector('.meshes canvas').dispatchEvent(new KeyboardEvent('keydown', "
            f"{{key: {key!r}, bubbles: true, cancelable: true}}))"
        )
        browser.settle()

    def test_loads_without_an_error_or_a_request(self, opened):
        browser, _ = opened
        assert browser.complaints() == []
        assert browser.requests() == []
        assert browser.evaluate("window.evil === undefined")
        label = browser.evaluate("document.querySelector('.meshes canvas').getAttribute('aria-label')")
        assert label.startswith(f"truth: {EVIL}: 2 objects with 174 vertices and 340 faces. Arrow keys turn it")

    def test_shows_what_the_rasterizer_shows(self, opened):
        """Which object each pixel shows, nearer ones before others."""
        browser, scene = opened
        self.key(browser, "0")
        drawn = self.pixels(browser)
        low, high = scene.vertices.double().aminmax(dim=0)
        center = (low + high) / 2
        moved = (scene.vertices - center) @ toward(center).T
        moved = moved / moved.norm(dim=1).max() + torch.tensor([0, 0, 3.0])
        seen = moved[:, :2] / moved[:, 2:] * 8**0.5
        focal = 0.46 * HEIGHT * 8**0.5 / seen.abs().max()
        assert 1 < 1 / seen.abs().max() < 2.5
        camera = torch.tensor([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
        objects = rasterize(scene.with_vertices(moved), camera, (HEIGHT, WIDTH)).object_map().numpy()
        assert 0 < (objects == 1).sum() < (objects == 0).sum()
        assert ((drawn[..., 3] > 0) == (objects >= 0)).mean() > 0.998
        assert ((drawn[..., 0] > 0) == (objects == 0)).mean() > 0.998
        assert ((drawn[..., 2] > 0) == (objects == 1)).mean() > 0.998

    def test_keys_turn_all_scenes_and_zoom(self, opened):
        browser, _ = opened
        self.key(browser, "0")
        first, other = self.pixels(browser), self.pixels(browser, 1)
        for _ in range(12):
            self.key(browser, "ArrowRight")
        assert ((first[..., 3] > 0) != (self.pixels(browser)[..., 3] > 0)).any()
        assert (other != self.pixels(browser, 1)).any()
        for _ in range(12):
            self.key(browser, "ArrowRight")
        assert (first != self.pixels(browser)).mean() < 0.002  # a whole turn
        self.key(browser, "-")
        assert 0 < (self.pixels(browser)[..., 3] > 0).sum() < 0.8 * (first[..., 3] > 0).sum()
        self.key(browser, "+")
        self.key(browser, "ArrowUp")
        assert (first != self.pixels(browser)).any()
        self.key(browser, "0")
        assert (first == self.pixels(browser)).all()

    def test_buttons_and_the_pointer_do_the_same(self, opened):
        browser, _ = opened
        self.key(browser, "ArrowLeft")
        turned = self.pixels(browser)
        self.key(browser, "0")
        browser.evaluate("document.querySelector(\".controls [data-key='ArrowLeft']\").click()")
        browser.settle()
        assert (turned == self.pixels(browser)).all()
        browser.evaluate("document.querySelector(\".controls [data-key='0']\").click()")
        browser.settle()
        first = self.pixels(browser)
        find = "document.querySelector('.meshes canvas').getBoundingClientRect()"
        x, y = (browser.evaluate(f"{find}.{axis} + 50") for axis in "xy")
        for kind, shift in (("mousePressed", 0), ("mouseMoved", 40), ("mouseReleased", 40)):
            pointer = {"x": x + shift, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            browser.call("Input.dispatchMouseEvent", type=kind, **pointer)
        browser.settle()
        assert (first != self.pixels(browser)).any()
