import json
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import noise, write_image


@pytest.fixture
def coco_folder(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes a small COCO folder; arguments replace its lists. Returns the images folder and the annotation file."""

    def write(**changes) -> tuple[Path, Path]:
        images = [
            {"id": 10, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 20, "file_name": "b.png", "height": 50, "width": 30},
            {"id": 30, "file_name": "c.jpg", "height": 32, "width": 32},
        ]
        annotations = [
            {"id": 1, "image_id": 20, "category_id": 7, "bbox": [5.0, 6.5, 10.0, 20.25], "area": 150.0, "iscrowd": 0},
            {"id": 2, "image_id": 10, "category_id": 3, "bbox": [0, 0, 60, 40]},
            {"id": 3, "image_id": 20, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"id": 4, "image_id": 20, "category_id": 7, "bbox": [2, 2, 8, 8], "ignore": 1},
        ]
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
        }
        content.update(changes)
        for number, image in enumerate(images):
            write_image(tmp_path / "images" / image["file_name"], noise(image["height"], image["width"], number))
        path = tmp_path / "annotations" / "instances_train.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return tmp_path / "images", path

    return write
