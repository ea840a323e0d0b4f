"""The files that the pages speak of, small: data sets, images, a checkpoint, weights."""

from __future__ import annotations

import json
import pickle
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from page_blocks import ROOT
from torchvision.models._api import WeightsEnum

from detkit.backbones import Darknet53, TimmBackbone
from detkit.data import ShapesOptions, draw_shapes
from detkit.data.conversion import convert
from detkit.engine.cli import main
from detkit.exporting.export_file import export_file
from detkit.heads import FCNHead, FCOSHead
from detkit.images import read_image
from detkit.models import FCOS, SegmentationModel, YOLOv3
from detkit.necks import FPN
from detkit.preprocess import Letterbox, ShortestEdge
from detkit.structures import Category
from detkit.weights import from_darknet, to_darknet

# The runs of the pages, all of them copies of a small Mask R-CNN's.
RUNS = (
    "faster_rcnn_mobilenet_v2_fpn_bccd", "faster_rcnn_shapes", "first", "large",
    "mask_rcnn_mobilenet_v2_fpn_nuclei", "my_recipe", "name", "shapes", "unet_nuclei", "voc",
    "yolo_v3_mobilenet_v2_bccd",
)  # fmt: skip
BACKBONE = "{class_path: TimmBackbone, init_args: {name: test_resnet}}"
HIDDEN = "{class_path: TwoFullyConnected, init_args: {hidden: 16}}"
SHORT = (
    "--data.num_workers=0", "--data.batch_size=4", "--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu", "--pictures=0",
)  # fmt: skip
DARKNET = """[net]
width=64
height=64
channels=3
[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=18
size=1
activation=linear
[yolo]
mask=0,1,2
anchors=10,10, 20,20, 40,40
classes=1
num=3
"""


def make_world(folder: Path) -> None:
    """Write everything into the working folder `folder`."""
    for name in ("configs", "tools"):
        (folder / name).symlink_to(ROOT / name)
    _write_data()
    _write_classes()
    _write_runs()
    _write_weights()


def _write_data() -> None:
    counts = {"train": 8, "val": 3, "test": 3}
    root = draw_shapes("my/folder", ShapesOptions(counts=counts, image_size=(48, 64), max_objects=4))
    for copy in ("my/coco", "path/to/folder"):
        shutil.copytree(root, copy)
    shutil.copytree(root / "annotations", "annotations")
    shutil.copytree(root / "annotations", "my/annotations")
    shutil.copytree(root / "images" / "val", "photos")
    first = min(Path("photos").iterdir())
    shutil.copy(root / "annotations" / "instances_val.json", "instances_val.json")
    image = read_image(first)
    for path in ("street.jpg", "more/a.png", "grace_hopper.jpg"):
        Path(path).parent.mkdir(exist_ok=True)
        cv2.imwrite(path, image[..., ::-1])
    _write_video("walk.mp4", image)
    _write_detections()
    convert(root, to="voc", out="VOCdevkit/VOC2007", splits=["train", "val", "test"])
    sets = Path("VOCdevkit/VOC2007/ImageSets/Main")
    (sets / "trainval.txt").write_text((sets / "train.txt").read_text() + (sets / "val.txt").read_text())
    convert(root, to="yolo", out="my/yolo")
    convert(root, to="labelme", out="labelme", splits=["train"])
    shutil.move("labelme/train", "my/labelme")  # as LabelMe itself writes it, without splits
    _write_cvat(root, Path("my/cvat"))
    (Path("my") / "data.yaml").write_text(
        Path("my/yolo/data.yaml").read_text() + f"\npath: {Path('my/yolo').resolve()}\n"
    )
    Path("given.json").write_text(json.dumps({"images": []}))


def _write_video(path: str, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for _ in range(2):
        video.write(image[..., ::-1])
    video.release()


def _write_detections() -> None:
    """The ground truth itself as detections, with boxes and masks."""
    truth = json.loads(Path("instances_val.json").read_text())
    kept = [one for one in truth["annotations"] if not one.get("iscrowd") and one.get("segmentation")]
    keys = ("image_id", "category_id", "bbox", "segmentation")
    entries = [{**{key: one[key] for key in keys}, "score": 0.9 - 0.01 * row} for row, one in enumerate(kept)]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    for entry in entries:
        entry["segmentation"] = _run_lengths(entry["segmentation"], *sizes[entry["image_id"]])
    for name in ("detections.json", "other.json"):
        Path(name).write_text(json.dumps(entries))


def _run_lengths(segmentation: object, height: int, width: int) -> object:
    from pycocotools import mask

    if isinstance(segmentation, dict):
        return segmentation
    joined = mask.merge(mask.frPyObjects(segmentation, height, width))
    return {"size": joined["size"], "counts": joined["counts"].decode()}


def _write_cvat(root: Path, folder: Path) -> None:
    """The boxes of the training images as CVAT exports them."""
    shutil.copytree(root / "images" / "train", folder / "images")
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    lines = ["<annotations><version>1.1</version>"]
    for image in content["images"]:
        lines.append(f'<image id="0" name="{image["file_name"]}" width="{image["width"]}" height="{image["height"]}">')
        for one in content["annotations"]:
            x, y, width, height = one["bbox"]
            corners = f'xtl="{x}" ytl="{y}" xbr="{x + width}" ybr="{y + height}"'
            if one["image_id"] == image["id"]:
                lines.append(f'<box label="{names[one["category_id"]]}" {corners}/>')
        lines.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def _write_classes() -> None:
    for split in ("train", "val"):
        for row, name in enumerate(("n01440764", "n01443537")):
            folder = Path("imagenet") / split / name
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / "a.jpg"), np.full((40, 40, 3), 60 + 100 * row, np.uint8))


def _write_runs() -> None:
    """One epoch of a small Mask R-CNN, and one of a small classifier; a small segmentation model."""
    small = (f"--model.backbone={BACKBONE}", f"--model.box_head.trunk={HIDDEN}", "--model.preprocess.min_size=64")
    ours = ("--config", "configs/mask_rcnn_shapes.yaml", "--data.root=my/folder", "--name=mine")
    assert main(["train", *ours, *small, *SHORT]) == 0
    drawn = ("--data.root=my/folder", "--data.image_class=largest")
    assert main(["train", "--config", "configs/classification_shapes.yaml", *drawn, *SHORT]) == 0
    for name in RUNS:
        copy_linked(Path("runs/mine"), Path("runs") / name)
    torch.manual_seed(0)
    maps = SegmentationModel(TimmBackbone("test_resnet", stages=[3, 4]), 3, FCNHead)
    maps.categories = [Category(number, f"class {number}") for number in range(3)]
    for name in ("maps", "my_unet"):
        Path("runs", name).mkdir()
        maps.save(f"runs/{name}/best.ckpt")


def _write_weights() -> None:
    torch.save(torchvision.models.squeezenet1_1().state_dict(), "squeezenet1_1.pth")
    shutil.copy("squeezenet1_1.pth", "squeezenet1_1_imagenet.pth")
    Path("yolov4.cfg").write_text(DARKNET)
    torch.manual_seed(0)
    to_darknet(from_darknet("yolov4.cfg"), "yolov4")


def write_published() -> None:
    """Random weights as of detectron2's model zoo, and of the authors of FCN and of Mesh R-CNN."""
    from caffe_fcn_reference import weights
    from meshrcnn_reference import shapenet_tensors

    write_detectron2()
    torch.save(weights("fcn8s", 0), "fcn8s_from_caffe.pth")
    Path("shapenet").mkdir()
    torch.save({"best_states": {"model": shapenet_tensors(True, 0)}}, "shapenet/voxmesh_R50.pth")


def write_meshes() -> None:
    """One epoch of a small Mesh R-CNN on a few images of Shapes3D."""
    small = (
        f"--model.backbone={BACKBONE}", f"--model.box_head.trunk={HIDDEN}", "--model.preprocess.min_size=64",
        "--model.preprocess.max_size=64", "--model.voxel_head.resolution=3", "--model.voxel_head.convolutions=1",
        "--model.mesh_head.samples=50", "--data.dataset.init_args.counts={train: 4, val: 2, test: 2}",
    )  # fmt: skip
    assert main(["train", "--config", "configs/mesh_rcnn_shapes3d.yaml", *small, *SHORT]) == 0


def write_detectron2() -> None:
    """A file as of detectron2's model zoo, of random weights."""
    from detectron2_reference import random_weights

    weights = {name: tensor.numpy() for name, tensor in random_weights(True, True, 80, 0).items()}
    with open("model_final_f10217.pkl", "wb") as file:
        pickle.dump({"model": weights}, file)


def write_exported() -> None:
    """A small FCOS as ``runs/mine``, and a small YOLOv3 as ``runs/my_yolo``."""
    torch.manual_seed(0)
    neck, head, preprocess = partial(FPN, out_channels=8), partial(FCOSHead, convolutions=1), ShortestEdge(160, 224)
    fcos = FCOS(TimmBackbone("test_resnet", stages=[3, 4]), 3, neck, head, preprocess)
    yolo = YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96)))
    shutil.rmtree("runs/mine")
    for name, model in (("mine", fcos), ("my_yolo", yolo)):
        model.categories = [Category(number, f"class {number}") for number in range(3)]
        Path("runs", name).mkdir()
        model.save(f"runs/{name}/best.ckpt")


def write_certified() -> None:
    """A small YOLOv3 for the classes of ``my/folder`` as ``runs/mine``, and its file ``mine.onnx``."""
    torch.manual_seed(0)
    names = json.loads(Path("my/folder/annotations/instances_val.json").read_text())["categories"]
    model = YOLOv3(Darknet53(0.05, [1] * 5), len(names), preprocess=Letterbox((64, 96))).eval()
    model.categories = [Category(one["id"], one["name"]) for one in names]
    shutil.rmtree("runs/mine")
    Path("runs/mine").mkdir()
    model.save("runs/mine/best.ckpt")
    export_file(model, Path("mine.onnx"))


def write_label_maps() -> None:
    """A true label map and an answer for each image of ``instances_val.json``."""
    content = json.loads(Path("instances_val.json").read_text())
    for folder in ("labels/val", "answers"):
        Path(folder).mkdir(parents=True)
        for image in content["images"]:
            labels = np.full((48, 64), content["categories"][0]["id"], dtype=np.uint8)
            cv2.imwrite(f"{folder}/{Path(image['file_name']).stem}.png", labels)


def copy_linked(source: Path, target: Path) -> None:
    """A copy of a folder that shares its files."""
    shutil.copytree(source, target, symlinks=True, copy_function=_link)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def random_instead_of_published(self: WeightsEnum, **_: object) -> dict[str, torch.Tensor]:
    """In place of ``WeightsEnum.get_state_dict``: no download."""
    name = type(self).__name__.removesuffix("_Weights").lower()
    nothing = {"weights_backbone": None} if "rcnn" in name or "fpn" in name or "ssd" in name else {}
    return torchvision.models.get_model(name, weights=None, **nothing).state_dict()
