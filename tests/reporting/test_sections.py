"""The sections of a report: what is in them, and which images they choose."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from report_cases import CATEGORIES, EVIL, KINDS, classified, detected, detections

from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator, ConfusionMatrix, Evaluation, Evaluator, VocEvaluator, assign_errors
from detkit.reporting import Evaluated, Page, PageOptions, Section, confusion_part, data_table, page_html, paragraph
from detkit.reporting.parts.data_table import Bar, Cell
from detkit.reporting.parts.line_chart import MOST_POINTS, Series, line_chart
from detkit.reporting.parts.rendering import json_in_html
from detkit.reporting.sections import detection_images
from detkit.reporting.sections.class_sections import image_kinds
from detkit.reporting.sections.plain_sections import plain_sections
from detkit.reporting.sections.run_sections import training_section
from detkit.structures import Category
from detkit.structures.categories import PERSON_KEYPOINTS
from detkit.tasks import Classification, Detection, Localization, Task


def content_of(section: Section) -> dict:
    """The JSON of the browser of a section."""
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', "".join(section.parts))
    return json.loads(text)


def named(sections, title):
    return next(section for section in sections if section.title == title)


class TestDetections:
    def test_all_sections(self):
        sections = Detection().report(detected())
        assert [one.title for one in sections] == [
            "Metrics", "Classes", "Sizes", "Errors", "Precision and recall", "Confusion", "Worst images",
        ]  # fmt: skip
        assert len({one.name for one in sections}) == len(sections)
        assert "AP of bbox is" in sections[0].summary
        assert "interval" in sections[0].summary

    def test_each_object_and_detection_has_its_kind(self):
        content = content_of(named(Detection().report(detected()), "Worst images"))
        names = [kind["name"] for kind in content["kinds"]]
        seen = {image["name"]: [names[answer[1]] for answer in image["answers"]] for image in content["images"]}
        for number, (kind, _, found) in enumerate(KINDS, 1):
            kinds = seen[str(number)]
            assert len(kinds) == len(found)
            assert kind == "missed" or kind in kinds
        assert all(names[one[1]] == "missed" for image in content["images"] for one in image["objects"])

    def test_the_worst_come_first_and_the_rest_stays_out(self):
        options = PageOptions(images=3, bootstrap=0)
        section = named(Detection().report(detected(options)), "Worst images")
        # Undetected objects count 1, wrong detections their scores.
        assert [image["name"] for image in content_of(section)["images"]] == ["1", "2", "3"]
        assert "3 of 7 images are shown" in section.parts[0]

    def test_badness_follows_the_threshold(self):
        (evaluator,) = detected().evaluators.values()
        errors = assign_errors(evaluator.evaluation)
        expected = {0.3: [1.9, 1.8, 1.7, 0.6, 0.5, 1, 0], 0.92: [1, 1, 1, 1, 1, 1, 0]}
        for threshold, values in expected.items():
            measured = detection_images.badness(errors, len(KINDS), threshold)
            assert measured == pytest.approx(values)

    def test_no_images_where_none_are_asked_for(self):
        titles = [one.title for one in Detection().report(detected(PageOptions(images=0, bootstrap=0)))]
        assert "Worst images" not in titles

    def test_the_causes_of_errors_are_assigned_once(self, monkeypatch):
        asked = []
        monkeypatch.setattr(
            "detkit.reporting.sections.detection_sections.assign_errors",
            lambda evaluation: asked.append(evaluation) or assign_errors(evaluation),
        )
        assert "Errors" in [one.title for one in Detection().report(detected())]
        assert len(asked) == 1

    def test_no_intervals_where_none_are_asked_for(self):
        metrics = Detection().report(detected(PageOptions(bootstrap=0)))[0]
        assert "interval" not in metrics.summary

    def test_voc_alone_has_images_too(self):
        evaluated = detected()
        evaluator = VocEvaluator(evaluated.dataset.ground_truth(), "voc2007", categories=CATEGORIES)
        evaluator.update([evaluated.dataset.target(index) for index in range(len(KINDS))], [one for *_, one in KINDS])
        evaluator.compute()
        sections = Detection().report(Evaluated({"voc2007": evaluator}, evaluated.dataset))
        assert [one.title for one in sections] == ["Metrics", "Worst images"]
        assert "mAP of voc2007" in sections[0].summary

    def test_metrics_that_are_no_shares_are_shown_as_they_are(self):
        evaluated = detected()
        (evaluator,) = evaluated.evaluators.values()
        evaluator.name, evaluator.unscaled = "mine", frozenset({"length"})
        evaluator.evaluation = Evaluation(
            {"AP": 0.25, "length": 7.5}, {"star": {"AP": 0.5, "length": 3.25, "objects": 2}}
        )
        (metrics, classes), summary = next((one.parts, one.summary) for one in plain_sections(evaluated))
        assert re.findall(r"<t[hd][^>]*>([^<]+)</t[hd]>", metrics) == [
            "metric", "value", "AP %", "25.0", "length", "7.500",
        ]  # fmt: skip
        assert re.findall(r"<t[hd][^>]*>([^<]+)</t[hd]>", classes) == [
            "class", "AP %", "length", "objects", "star", "50.0", "3.250", "2",
        ]  # fmt: skip
        assert summary == "AP is 25.0 %."

    def test_two_evaluators_are_told_apart(self):
        evaluated = detected()
        (evaluator,) = evaluated.evaluators.values()
        sections = Detection().report(Evaluated({"bbox": evaluator, "mine": evaluator}, evaluated.dataset))
        assert {"Metrics: bbox", "Metrics: mine"} <= {one.title for one in sections}
        assert len({one.name for one in sections}) == len(sections)

    def test_without_kernels_what_needs_them_is_left_out(self, monkeypatch):
        monkeypatch.setattr("detkit.reporting.sections.detection_sections.backend", lambda: "reference")
        titles = [one.title for one in Detection().report(detected())]
        assert titles == ["Metrics", "Classes", "Sizes", "Precision and recall"]

    def test_keypoints_have_no_kinds_of_errors(self):
        person = Category(1, "person", keypoints=PERSON_KEYPOINTS)
        points = [[10.0 + 2 * joint, 20.0 + joint, 2.0] for joint in range(17)]
        entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 90, 90], "area": 8100, "iscrowd": 0}
        entry |= {"keypoints": [value for point in points for value in point], "num_keypoints": 17}
        image = {"id": 1, "file_name": "1.jpg", "height": 100, "width": 100}
        truth = {"images": [image], "annotations": [entry], "categories": [{"id": 1, "name": "person"}]}
        evaluator = CocoEvaluator(truth, iou_type="keypoints", categories=[person])
        said = {"image_id": 1, "category_id": 1, "keypoints": entry["keypoints"], "score": 0.9}
        evaluator.read([said])
        evaluator.compute()
        sections = Detection().report(Evaluated({"keypoints": evaluator}, detected().dataset))
        assert [one.title for one in sections] == ["Metrics", "Classes", "Sizes", "Precision and recall"]
        assert "AP of keypoints is 100.0 %" in sections[0].summary
        assert "at OKS 0.50" in "".join(sections[-1].parts)

    def test_crowds_and_what_they_excuse_are_ignored(self):
        evaluated = detected()
        truth = evaluated.dataset.ground_truth()
        truth["annotations"][5]["iscrowd"] = 1  # of the image without detections
        evaluator = CocoEvaluator(truth, categories=CATEGORIES)
        found = [one for *_, one in KINDS]
        found[5] = detections((25, 25, 35, 35, 2, 0.9))
        evaluator.update([evaluated.dataset.target(index) for index in range(len(KINDS))], found)
        evaluator.compute()
        content = content_of(Detection().report(Evaluated({"bbox": evaluator}, evaluated.dataset))[-1])
        names = [kind["name"] for kind in content["kinds"]]
        (image,) = [one for one in content["images"] if one["name"] == "6"]
        assert [names[mark[1]] for mark in (*image["objects"], *image["answers"])] == ["ignored", "ignored"]

    def test_an_image_shows_the_highest_scoring_detections(self, monkeypatch):
        monkeypatch.setattr(detection_images, "MOST_DETECTIONS", 20)
        evaluated = detected()
        many = [(x, y, x + 9, y + 9, 0, 0.5 + x / 1000) for x in range(0, 90, 9) for y in range(0, 90, 9)]
        (evaluator,) = evaluated.evaluators.values()
        evaluator.update([evaluated.dataset.target(6)], [detections(*many, (0, 0, 9, 9, 0, 0.01))])
        evaluator.compute()
        section = Detection().report(evaluated)[-1]
        (image,) = [one for one in content_of(section)["images"] if one["name"] == "7"]
        scores = [answer[3] for answer in image["answers"]]
        assert scores == sorted((round(row[5], 4) for row in many), reverse=True)[:20]
        assert "Not shown: detections with a score below 0.05, and all but the 20" in section.parts[-1]


class TestClasses:
    def test_sections(self):
        sections = Classification().report(classified())
        assert [one.title for one in sections] == ["Metrics", "Confusion", "Worst images"]
        assert sections[0].summary == "top1 is 50.0 % of 4 images."

    def test_wrong_images_come_first(self):
        evaluated = classified()
        (evaluator,) = evaluated.evaluators.values()
        assert image_kinds(evaluator.evaluation, evaluator.headline).tolist() == [0, 2, 0, 3]
        content = content_of(Classification().report(evaluated)[-1])
        assert [image["name"] for image in content["images"]] == ["2", "4", "1", "3"]
        assert content["images"][0]["answers"] == [[2, 2, None, 0.75, -1, None], [1, 0, None, 0.25, -1, None]]

    def test_no_images_where_none_are_asked_for(self):
        evaluated = replace(classified(), options=PageOptions(images=0))
        assert [one.title for one in Classification().report(evaluated)] == ["Metrics", "Confusion"]

    def test_localization_shows_detectors_evaluators_as_well(self):
        titles = [one.title for one in Localization().report(detected())]
        assert titles[0] == "Metrics"
        assert titles.count("Metrics") == 1


class TestOwnTasks:
    def test_have_metrics_by_default(self):
        evaluated = detected()
        (evaluator,) = evaluated.evaluators.values()
        evaluator.evaluation = Evaluation({"AP": 0.25}, {EVIL: {"error": 0.5}})
        (section,) = Task().report(evaluated)
        assert section.summary == "AP is 25.0 %."
        assert "0.5" in section.parts[1]

    def test_show_numbers_as_they_are(self):
        own = Counting({})
        own.compute()
        (section,) = Task().report(replace(detected(), evaluators={"count": own}))
        assert section.summary == "error is 12.346."
        assert "%" not in "".join(section.parts)
        assert re.findall("<td[^>]*>([^<]*)<", section.parts[1]) == ["0.500", "3"]

    def test_without_a_result_have_nothing(self):
        evaluated = detected()
        for evaluator in evaluated.evaluators.values():
            evaluator.evaluation = None
        assert Task().report(evaluated) == []


class TestPage:
    def test_texts_are_escaped(self):
        html = page_html(Page(EVIL, EVIL, [*Detection().report(detected()), Section("own", EVIL, [paragraph(EVIL)])]))
        assert EVIL not in html
        assert html.count("</script>") == html.count("<script")
        assert "&lt;script&gt;" in html

    def test_json_cannot_end_its_script(self):
        text = json_in_html({"a": "</script><!--", "b": float("nan"), "c": "\u2028ü\ud800"})
        assert not set("<>&") & set(text)
        assert text.isascii()
        assert json.loads(text) == {"a": "</script><!--", "b": None, "c": "\u2028ü\ud800"}

    def test_sections_of_one_name_are_refused(self):
        with pytest.raises(InputError, match="called 'a'"):
            page_html(Page("", "", [Section("a", "A", []), Section("a", "B", [])]))

    def test_it_names_no_address(self):
        html = page_html(Page("a", "b", Detection().report(detected())))
        assert re.findall(r"https?:|@import|url\((?!data:)|(?:src|href)=[\"'](?!#|data:)", html) == []

    def test_an_image_is_bounded(self):
        small, large = (
            content_of(Detection().report(detected(PageOptions(longest_side=side, bootstrap=0)))[-1])
            for side in (32, 640)
        )
        assert len(small["images"][0]["url"]) < len(large["images"][0]["url"])
        assert (small["images"][0]["width"], small["images"][0]["height"]) == (100, 100)


class TestParts:
    @pytest.mark.parametrize(("classes", "tables", "folded"), [(40, 2, 0), (60, 2, 1), (150, 1, 0)])
    def test_a_confusion_matrix_of_many_classes_is_folded_or_left_out(self, classes, tables, folded):
        counts = np.ones((classes + 1, classes + 1), dtype=np.int64)
        names = [*(f"class {k}" for k in range(classes)), "background"]
        html = confusion_part(ConfusionMatrix(names, counts, "objects"))
        assert (html.count("<table"), html.count("<details")) == (tables, folded)
        table = html[html.rindex("<table") :]
        assert "Most frequent confusions between classes" in table
        assert "background" not in table

    def test_a_class_of_images_may_be_called_background(self):
        html = confusion_part(ConfusionMatrix(["cat", "background"], np.array([[1, 3], [0, 2]]), "images"))
        assert "Most frequent confusions between classes" in html

    def test_a_table_sorts_by_order(self):
        html = data_table(
            "Caption", ["a", "b"], [["x", Cell("1.0", 1.0, Bar(0, 0.5, 0.25))], ["y", Cell.percent(-1.0)]]
        )
        assert 'data-order="1.0"' in html
        assert "width:50.00%" in html
        assert "–" in html

    def test_a_chart_of_many_points_is_thinned_to_means(self):
        steps = np.arange(10_000)
        html = line_chart("Losses", [Series("loss", steps, steps % 2)], "step", "loss")
        (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
        (values,) = json.loads(text)["values"]
        assert len(values["x"]) == MOST_POINTS
        assert set(values["y"]) == {0.5, 0.48} or np.allclose(values["y"], 0.5, atol=0.03)

    @pytest.mark.parametrize("values", [[], [np.nan], [3.0], [2.0, 2.0], [1e-9, 2e-9], [-5.0, 1e12]], ids=str)
    def test_a_chart_of_few_or_odd_values(self, values):
        html = line_chart("Odd", [Series("one", np.arange(len(values)), np.array(values))], "step", "y")
        assert "nan" not in html.lower().replace("name", "")


def test_a_training_shows_losses_and_metrics(tmp_path):
    rows = ["epoch,step,train/loss,val/AP,lr", *(f"{step // 5},{step},{1 / (step + 1)},,0.1" for step in range(10))]
    (tmp_path / "metrics.csv").write_text("\n".join([*rows, "1,9,,0.25,", ""]))
    section = training_section(tmp_path / "metrics.csv")
    text = "".join(section.parts)
    assert "10 steps, 2 epochs" in text
    assert "train/loss" in text
    assert "numbers of the validations" in text
    assert "lr" not in re.findall(r'"names": (\[.*?\])', text)[0]


def test_a_training_whose_loss_was_not_finite_says_so(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n0,0,1.5\n0,7,nan\n0,8,nan\n")
    section = training_section(tmp_path / "metrics.csv")
    assert section.summary == "NaN or infinity was logged, which is not drawn: train/loss (first at step 7)."
    assert section.summary in section.parts[1]


class TestMetricsOfATraining:
    """The evaluator says which of them are in percent; nothing is guessed by the name of a column."""

    @pytest.fixture
    def charts(self, tmp_path):
        def draw(columns: dict[str, list[float]], evaluators) -> dict[str, dict[str, list[float]]]:
            values = enumerate(zip(*columns.values(), strict=True))
            rows = [["epoch", "step", *columns], *([k, k, *row] for k, row in values)]
            (tmp_path / "metrics.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
            section = training_section(tmp_path / "metrics.csv", evaluators)
            return {
                re.search("<figcaption.*?>(.*?)<", part)[1]: {
                    name: one["y"] for name, one in zip(content["names"], content["values"], strict=True)
                }
                for part in section.parts[1:]
                for content in [json.loads(re.search(r'application/json">(.*?)</script>', part)[1])]
            }

        return draw

    def test_are_shown_as_their_evaluator_says(self, charts):
        (coco,) = detected().evaluators.values()
        own = Counting({})
        own.compute()
        columns = {"val/AP": [0.25, -1, 0.5], "val/count/error": [12.5, 3, -1], "val/seconds": [40, 41, 42]}
        drawn = charts(columns, {"bbox": coco, "count": own})
        assert drawn == {
            "Metrics of the validations": {"AP": [25.0, 50.0]},
            "Other numbers of the validations": {"count/error": [12.5, 3], "seconds": [40, 41, 42]},
        }

    def test_without_evaluators_all_are_as_they_are(self, charts):
        assert charts({"val/AP": [0.25, 0.5]}, {}) == {"Other numbers of the validations": {"AP": [0.25, 0.5]}}


class Counting(Evaluator):
    name = "count"
    reads = "boxes"
    headline = "error"

    def keep(self, target, answer):
        return 0

    def evaluate(self):
        return Evaluation({"error": 12.345678}, {"cat": {"error": 0.5, "objects": 3}})


def test_a_training_that_logged_nothing(tmp_path):
    (tmp_path / "metrics.csv").write_text("")
    assert "Nothing was logged" in "".join(training_section(tmp_path / "metrics.csv").parts)
