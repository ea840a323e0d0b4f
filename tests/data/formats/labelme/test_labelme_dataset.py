"""LabelMe's folders, read as a data set, converted, and written."""

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image
from PIL import Image, ImageDraw

from detkit.data import DataModule, LabelMeDataset, format_of, open_split
from detkit.data.conversion import convert
from detkit.errors import InputError
from detkit.ops import rle_to_masks

HEIGHT, WIDTH = 40, 60


def in_base64(pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shape(label: str, kind: str | None, points: list, **more) -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


POLYGON = shape("cat", "polygon", [[5, 5], [25, 6.5], [20, 30]])
RECTANGLE = shape("dog", "rectangle", [[50, 35], [30, 10]])  # drawn from its lower right corner
CIRCLE = shape("dog", "circle", [[30, 20], [33, 24]])  # radius 5
PIXELS = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 0, 0]], dtype=np.uint8)
MASK = shape("cat", "mask", [[2, 3], [4, 6]], mask=in_base64(PIXELS))


def write(folder: Path, name: str, shapes: list, image: bool = True, **more) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if image:
        write_image(folder / f"{name}.png", noise(HEIGHT, WIDTH))
    content = {
        "version": "5.4.1", "flags": {"checked": True}, "shapes": shapes, "imagePath": f"{name}.png",
        "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH, **more,
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(content))


def masks(dataset: LabelMeDataset, index: int = 0) -> np.ndarray:
    return rle_to_masks(dataset.target(index).masks).numpy().astype(bool)


def refused(folder: Path, *words: str, **options) -> None:
    with pytest.raises(InputError) as error:
        open_split(folder, "train", "labelme", **options)
    assert "\n" not in str(error.value)
    assert not [word for word in words if word not in str(error.value)], str(error.value)


def test_shapes_become_objects(tmp_path: Path):
    write(tmp_path, "a", [POLYGON, RECTANGLE, CIRCLE, MASK])
    assert format_of(tmp_path) == "labelme"
    dataset = open_split(tmp_path, "train", reads=["masks"])
    target = dataset.target(0)
    assert target.boxes.tolist() == [[5, 5, 25, 30], [30, 10, 50, 35], [25, 15, 35, 25], [2, 3, 5, 6]]
    assert [dataset.categories[label].name for label in target.labels] == ["cat", "dog", "dog", "cat"]
    assert dataset.image_ids == ["a"]


def test_a_mask_lies_where_labelme_puts_it(tmp_path: Path):
    """Its `shapes_to_label` fills ``mask[y1 : y2 + 1, x1 : x2 + 1]`` with the PNG."""
    write(tmp_path, "a", [MASK])
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[3:7, 2:5] = PIXELS
    assert (masks(open_split(tmp_path, "train", reads=["masks"]))[0] == expected).all()


@pytest.mark.parametrize("one", [POLYGON, CIRCLE], ids=["polygon", "circle"])
def test_outlines_are_filled_as_labelme_does_but_for_their_border(tmp_path: Path, one: dict):
    """LabelMe fills with Pillow, which adds the outline; COCO takes the pixels whose centers are inside."""
    write(tmp_path, "a", [one])
    drawing = Image.new("L", (WIDTH, HEIGHT))
    if one is CIRCLE:
        ImageDraw.Draw(drawing).ellipse((25, 15, 35, 25), fill=1, outline=1)
    else:
        ImageDraw.Draw(drawing).polygon([tuple(point) for point in one["points"]], fill=1, outline=1)
    theirs, ours = np.asarray(drawing).astype(bool), masks(open_split(tmp_path, "train", reads=["masks"]))[0]
    assert not (around(theirs, np.all) & ~ours).any()
    assert not (ours & ~around(theirs, np.any)).any()


def around(mask: np.ndarray, reduce) -> np.ndarray:
    """Each pixel with its eight neighbors: whether all, or any, are inside."""
    moved = [np.roll(mask, (dy, dx), axis=(0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return reduce(moved, axis=0)


def test_shapes_of_a_label_and_a_group_are_one_object(tmp_path: Path):
    left = {**POLYGON, "group_id": 3}
    right = {**shape("cat", "polygon", [[40, 5], [50, 5], [50, 20]]), "group_id": 3}
    other = {**RECTANGLE, "group_id": 3}  # of another label
    write(tmp_path, "a", [left, other, right, {**MASK, "group_id": 4}, {**CIRCLE, "label": "cat", "group_id": 4}])
    dataset = open_split(tmp_path, "train", reads=["masks"])
    assert dataset.target(0).boxes.tolist() == [[5, 5, 50, 30], [30, 10, 50, 35], [2, 3, 35, 25]]
    parts = [{**one, "group_id": None} for one in (left, right)]
    write(tmp_path / "apart", "a", parts)
    apart = masks(open_split(tmp_path / "apart", "train", reads=["masks"]))
    assert (masks(dataset)[0] == apart.any(axis=0)).all()


def test_flags_of_shapes_and_files_of_the_first_releases(tmp_path: Path):
    old = {key: value for key, value in POLYGON.items() if key not in ("shape_type", "group_id", "flags")}
    crowd, hard = {**RECTANGLE, "flags": {"iscrowd": True}}, {**CIRCLE, "flags": {"difficult": True, "other": True}}
    write(tmp_path, "a", [old, crowd, hard])
    target = open_split(tmp_path, "train").target(0)
    assert target.iscrowd.tolist() == [False, True, False]
    assert target.difficult.tolist() == [False, False, True]


def test_lines_and_points_are_left_out_with_a_warning(tmp_path: Path, caplog):
    write(tmp_path, "a", [shape("lane", "line", [[1, 2], [3, 4]]), POLYGON, shape("tip", "point", [[1, 2]])])
    dataset = open_split(tmp_path, "train")
    assert [category.name for category in dataset.categories] == ["cat"]
    assert "1 of the kind line and 1 of the kind point" in caplog.text


def test_an_image_that_only_the_json_holds(tmp_path: Path):
    pixels = noise(HEIGHT, WIDTH)
    write(tmp_path, "a", [POLYGON], image=False, imageData=in_base64(pixels))
    write(tmp_path, "b", [POLYGON], image=False, imageData=in_base64(pixels), imageHeight=None, imageWidth=None)
    dataset = open_split(tmp_path, "train")
    assert all((dataset.read(index)[0] == pixels).all() for index in range(2))
    assert dataset.image_sizes.tolist() == [[HEIGHT, WIDTH]] * 2
    for images in ("copy", "link"):
        convert(tmp_path, tmp_path.with_name(images), "coco", images=images)
        written = open_split(tmp_path.with_name(images), "train")
        assert (written.read(0)[0] == pixels).all()


def test_images_named_with_folders_of_another_system(tmp_path: Path):
    write(tmp_path / "labels", "a", [POLYGON], image=False, imagePath="..\\photos\\a.png")
    write(tmp_path / "labels", "b", [POLYGON], imagePath="C:\\Users\\me\\b.png")
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", noise(HEIGHT, WIDTH))
    dataset = open_split(tmp_path, "train")
    assert [dataset.read(index)[0].shape for index in range(2)] == [(HEIGHT, WIDTH, 3)] * 2


def test_splits_in_folders_and_the_order_of_classes(tmp_path: Path):
    write(tmp_path / "train", "a", [POLYGON])
    write(tmp_path / "valid", "b", [RECTANGLE])
    DataModule(tmp_path, num_workers=0).setup("fit")
    assert [one.name for one in open_split(tmp_path, "val").categories] == ["cat", "dog"]
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\n")
    assert [one.name for one in open_split(tmp_path, "val").categories] == ["dog", "cat"]
    with pytest.raises(InputError, match="no folder test"):
        open_split(tmp_path, "test")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({**POLYGON, "points": [[1, 2], [3, 4]]}, ["a.json: shape 1", "2 points", "needs 3"]),
        ({**POLYGON, "points": [[1, 2], [3, "x"], [5, 6]]}, ["a.json: shape 1", "list of [x, y]"]),
        ({**POLYGON, "points": [[1, 2], [3, float("nan")], [5, 6]]}, ["a.json: shape 1"]),
        ({**POLYGON, "shape_type": "blob"}, ["a.json: shape 1", "'blob'"]),
        ({**MASK, "mask": "???"}, ["a.json: shape 1", "no PNG"]),
        ({**MASK, "points": [[58, 3], [60, 6]]}, ["a.json: shape 1", "reaches out of the image"]),
        ({**POLYGON, "label": ""}, ["a.json: shape 1 has no label"]),
        ("polygon", ["a.json: shape 1 has no label"]),
    ],
)
def test_what_is_wrong_names_file_and_shape(tmp_path: Path, wrong, words: list[str]):
    write(tmp_path, "a", [POLYGON, wrong])
    refused(tmp_path, *words)


def test_wrong_files(tmp_path: Path):
    write(tmp_path, "a", [POLYGON], image=False)
    refused(tmp_path, "a.json", "no image 'a.png'", "imageData")
    (tmp_path / "a.json").write_text('{"shapes": 3}')
    refused(tmp_path, "a.json", "no file of LabelMe")
    (tmp_path / "a.json").unlink()
    refused(tmp_path, "no JSON file")


def test_wrong_shapes_can_be_left_out(tmp_path: Path):
    write(tmp_path, "a", [{**POLYGON, "points": []}, RECTANGLE])
    assert len(open_split(tmp_path, "train", on_bad_box="skip", class_names=["cat", "dog"]).target(0).boxes) == 1


def test_written_and_read_again(tmp_path: Path):
    shapes = [POLYGON, RECTANGLE, MASK, {**POLYGON, "group_id": 1}, {**CIRCLE, "label": "cat", "group_id": 1}]
    shapes[1] = {**RECTANGLE, "flags": {"difficult": True}}
    write(
        tmp_path / "in" / "train", "a", [*shapes, {**RECTANGLE, "points": [[1, 1], [9, 9]], "flags": {"iscrowd": True}}]
    )
    convert(tmp_path / "in", tmp_path / "coco", "coco")
    done = convert(tmp_path / "coco", tmp_path / "out", "labelme")
    assert (done.losses, done.boxes) == ([], {"train": 5})
    first, second = (open_split(tmp_path / name, "train", reads=["masks"]) for name in ("in", "out"))
    assert format_of(tmp_path / "out") == "labelme"
    before, after = first.target(0), second.target(0)
    assert (masks(first) == masks(second)).all()
    for field in ("boxes", "labels", "iscrowd", "difficult"):
        assert (getattr(before, field) == getattr(after, field)).all()
    content = json.loads((tmp_path / "out" / "train" / "a.json").read_text())
    assert [one["shape_type"] for one in content["shapes"]].count("mask") == 1
    assert (tmp_path / "out" / "labels.txt").read_text() == "cat\ndog\n"
