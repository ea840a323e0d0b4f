"""CVAT's XML, "for images" and "for video", read as a data set and converted."""

from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image

from detkit.data import DataModule, format_of, open_split
from detkit.data.conversion import convert
from detkit.data.formats.cvat import cvat_folders
from detkit.errors import InputError
from detkit.files.xml_documents import read_xml
from detkit.ops import rle_to_masks

META = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
BOX = '<box label="cat" xtl="1.5" ytl="2" xbr="20" ybr="30" occluded="0"><attribute name="tame">yes</attribute></box>'


def write(folder: Path, content: str, *images: str, meta: str = META) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{meta}\n{content}'
        "\n</annotations>"
    )
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / image, noise(40, 60))


def image(name: str, *shapes: str, more: str = "") -> str:
    return f'<image id="0" name="{name}" {more} width="60" height="40">\n' + "\n".join(shapes) + "\n</image>\n"


def track(*boxes: tuple) -> str:
    """Boxes of a track: frame, outside, and x of a box of 10 x 10 pixels."""
    written = (
        f'<box frame="{frame}" keyframe="1" outside="{outside}" xtl="{x}" ytl="0" xbr="{x + 10}" ybr="10"/>'
        for frame, outside, x in boxes
    )
    return '<track id="0" label="cat">\n' + "\n".join(written) + "\n</track>"


def frames(count: int) -> list[str]:
    return [f"images/frame_{number:06d}.png" for number in range(count)]


def lefts(root: Path) -> list[list[float]]:
    dataset = open_split(root, "train")
    return [dataset.target(index).boxes[:, 0].tolist() for index in range(len(dataset))]


def refused(root: Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        open_split(root, "train", "cvat")
    assert "\n" not in str(error.value)
    assert not [word for word in words if word not in str(error.value)], str(error.value)


def test_shapes_become_objects(tmp_path: Path):
    polygon = '<polygon label="dog" points="1.00,2.00;10.00,2.00;10.00,20.50" z_order="1"/>'
    ellipse = '<ellipse label="dog" cx="30" cy="20" rx="10" ry="5"/>'
    write(tmp_path, image("a.png", BOX, polygon, ellipse), "images/a.png")
    assert format_of(tmp_path) == "cvat"
    dataset = open_split(tmp_path, "train")
    target = dataset.target(0)
    assert [one.name for one in dataset.categories] == ["dog", "cat"]  # in the order of the file
    assert target.boxes.tolist() == [[1.5, 2, 20, 30], [1, 2, 10, 20.5], [20, 15, 40, 25]]
    assert target.labels.tolist() == [1, 0, 0]


def test_a_mask_is_runs_row_by_row_in_its_box(tmp_path: Path):
    mask = '<mask label="dog" rle="1, 3, 1, 1" left="4" top="5" width="3" height="2"/>'
    write(tmp_path, image("a.png", mask), "images/a.png")
    masks = rle_to_masks(open_split(tmp_path, "train", reads=["masks"]).target(0).masks)
    expected = np.zeros((40, 60), dtype=bool)
    expected[5:7, 4:7] = [[0, 1, 1], [1, 0, 1]]
    assert (masks[0].numpy() == expected).all()


def test_a_rotated_box_becomes_the_upright_box_around_it(tmp_path: Path, caplog):
    box = '<box label="cat" xtl="20" ytl="10" xbr="40" ybr="20" rotation="{}"/>'
    write(tmp_path, image("a.png", box.format(90), box.format(30.0), box.format(0)), "images/a.png")
    boxes = open_split(tmp_path, "train").target(0).boxes
    half_width, half_height = 10 * np.cos(np.pi / 6) + 5 * 0.5, 10 * 0.5 + 5 * np.cos(np.pi / 6)
    expected = [30 - half_width, 15 - half_height, 30 + half_width, 15 + half_height]
    assert boxes[0].tolist() == [25, 5, 35, 25]
    assert boxes[1].tolist() == pytest.approx(expected, abs=1e-5)
    assert boxes[2].tolist() == [20, 10, 40, 20]
    assert caplog.text.count("2 rotated boxes became the upright boxes around them") == 1


def test_lines_points_and_tags_are_left_out_with_a_warning(tmp_path: Path, caplog):
    shapes = ('<polyline label="dog" points="1,2;3,4"/>', '<points label="dog" points="1,2"/>', '<tag label="dog"/>')
    write(tmp_path, image("a.png", *shapes), "images/a.png")
    assert len(open_split(tmp_path, "train").target(0).boxes) == 0
    assert "1 of the kind points and 1 of the kind polyline and 1 of the kind tag" in caplog.text


def test_tracks_are_interpolated_between_keyframes(tmp_path: Path):
    write(tmp_path, track((0, 0, 0), (4, 0, 8), (5, 1, 8)), *frames(7))
    assert format_of(tmp_path) == "cvat"
    assert lefts(tmp_path) == [[0], [2], [4], [6], [8], [], []]


def test_a_track_that_leaves_stays_in_place_until_then_and_may_return(tmp_path: Path):
    write(tmp_path, track((1, 0, 3), (3, 1, 9), (5, 0, 20)), *frames(6))
    assert lefts(tmp_path) == [[], [3], [3], [], [], [20]]


def test_every_frame_as_cvat_writes_it(tmp_path: Path):
    write(tmp_path, track((0, 0, 1), (1, 0, 5), (2, 0, 2), (3, 1, 2)), *frames(4))
    assert lefts(tmp_path) == [[1], [5], [2], []]


def test_frames_without_image_and_polygons_that_differ(tmp_path: Path):
    write(tmp_path, track((0, 0, 0), (4, 0, 8)), *frames(3))
    refused(tmp_path, "2 annotated frames have no image", "frame 3")
    polygons = (
        '<polygon frame="0" outside="0" points="1,2;3,4;5,1"/><polygon frame="2" outside="0" points="1,1;2,1;2,2;1,2"/>'
    )
    write(tmp_path, f'<track id="7" label="cat">{polygons}</track>')
    refused(tmp_path, "the track 7", "cannot be interpolated")


def test_splits_are_subsets_or_folders(tmp_path: Path):
    content = image("a.png", BOX, more='subset="Train"') + image("b.png", more='subset="Validation"')
    write(tmp_path / "subsets", content, "images/Train/a.png", "images/Validation/b.png")
    for split in ("train", "valid"):
        write(tmp_path / "folders" / split, image("a.png", BOX), "images/a.png")
    for root in (tmp_path / "subsets", tmp_path / "folders"):
        data = DataModule(root, num_workers=0)
        data.setup("fit")
        assert (len(data.train_dataset), len(data.eval_dataset)) == (1, 1)
        assert data.train_dataset[0][0].shape == (3, 40, 60)
        with pytest.raises(InputError, match="no split test, it has train, val"):
            open_split(root, "test")


def test_one_task_without_splits_is_divided(tmp_path: Path):
    write(tmp_path, "".join(image(f"{i}.png", BOX) for i in range(5)), *(f"images/{i}.png" for i in range(5)))
    with pytest.raises(InputError, match=r"--data\.val_fraction"):
        DataModule(tmp_path, num_workers=0).setup("fit")
    data = DataModule(tmp_path, num_workers=0, val_fraction=0.2)
    data.setup("fit")
    assert (len(data.train_dataset), len(data.eval_dataset)) == (4, 1)


def test_classes_without_a_description_are_those_of_all_splits(tmp_path: Path):
    write(tmp_path / "train", image("a.png", BOX), "images/a.png", meta="")
    write(tmp_path / "val", image("a.png", BOX.replace("cat", "ant")), "images/a.png", meta="")
    assert [one.name for one in open_split(tmp_path, "val").categories] == ["ant", "cat"]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<box label="cat" xtl="1" ytl="2" xbr="x" ybr="3"/>', ["annotations.xml:5", "box", "xbr='x'"]),
        ('<box label="cat" xtl="1" ytl="2" xbr="3"/>', ["annotations.xml:5", "ybr=''"]),
        ('<box label="cow" xtl="1" ytl="2" xbr="3" ybr="4"/>', ["annotations.xml:5", "'cow' is not among dog, cat"]),
        ('<polygon label="cat" points="1,2;3"/>', ["annotations.xml:5", "polygon"]),
        ('<polygon label="cat" points="1,2;3,4"/>', ["annotations.xml:5", "needs 3"]),
        ('<mask label="cat" rle="1, 2" left="0" top="0" width="2" height="2"/>', ["3 pixels", "2x2"]),
        ('<mask label="cat" rle="1, 3" left="59" top="0" width="2" height="2"/>', ["reaches out of the image"]),
        ('<mask label="cat" rle="a" left="0" top="0" width="2" height="2"/>', ["run lengths"]),
    ],
)
def test_what_is_wrong_names_file_and_line(tmp_path: Path, shape: str, words: list[str]):
    write(tmp_path, image("a.png", shape), "images/a.png")
    refused(tmp_path, *words)


def test_a_missing_image(tmp_path: Path):
    write(tmp_path, image("a.png", BOX))
    refused(tmp_path, "annotations.xml:4", "no image 'a.png'", "images")


def test_converted_to_coco_and_labelme(tmp_path: Path):
    mask = '<mask label="dog" rle="1, 3, 1, 1" left="4" top="5" width="3" height="2"/>'
    write(tmp_path / "in", image("a.png", BOX, mask), "images/a.png")
    first = open_split(tmp_path / "in", "train", reads=["masks"]).target(0)
    for to in ("coco", "labelme"):
        assert convert(tmp_path / "in", tmp_path / to, to).boxes == {"train": 2}
        again = open_split(tmp_path / to, "train", reads=["masks"]).target(0)
        assert (again.boxes == first.boxes).all()
        assert (rle_to_masks(again.masks) == rle_to_masks(first.masks)).all()


@pytest.mark.parametrize("meta", [META, ""])
def test_each_file_is_parsed_once(tmp_path: Path, monkeypatch, meta):
    content = image("a.png", BOX, more='subset="Train"') + image("b.png", more='subset="Validation"')
    write(tmp_path, content, "images/Train/a.png", "images/Validation/b.png", meta=meta)
    parsed = []
    monkeypatch.setattr(cvat_folders, "read_xml", lambda path: parsed.append(path) or read_xml(path))
    assert len(open_split(tmp_path, "val", "cvat")) == 1
    assert parsed == [tmp_path / "annotations.xml"]


def test_a_class_that_is_named_twice_is_refused(tmp_path: Path):
    write(tmp_path, image("a.png", BOX), "images/a.png")
    with pytest.raises(InputError, match="the class 'cat' is listed twice"):
        open_split(tmp_path, "train", "cvat", ["cat", "dog", "cat"])
