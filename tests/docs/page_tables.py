"""What each page's blocks need beside the files of the world: names, other numbers, and what no test can run."""

from __future__ import annotations

# What the text of a command or of a Python block becomes: big things small, downloads local.
REPLACED = {
    "../shared/data/bccd": "my/folder",
    "BCCD_Dataset/BCCD": "my/folder",
    "my/nuclei": "my/folder",
    'detkit.train("faster_rcnn_mobilenet_v2_fpn", data': 'detkit.train("faster_rcnn_shapes", device="cpu", data',
    "epochs=12": 'epochs=1, **{"data.num_workers": 0, "pictures": 0}',
    '"train": 1000, "val": 200': '"train": 2, "val": 1',
    '"squeezenet1_1", 1000': '"squeezenet1_1", 2',
    '"num_classes": 1000': '"num_classes": 2',
    "torch.zeros(3, 480, 640": "torch.zeros(3, 64, 96",
    "num_classes=3)\nimages": "num_classes=3, preprocess=ShortestEdge(96, 128))\nimages",
    "epochs=5": "epochs=1",
    "ShortestEdge(320, 480)": "ShortestEdge(64, 96)",
    "samples=1000": "samples=20",
    "--bootstrap 1000": "--bootstrap 20",
    "--bootstrap 2000": "--bootstrap 20",
}

# Further arguments that make a command cheap, by how it begins.
EXTRA = {
    "detkit compare": ("--bootstrap=20",),
    "detkit doctor": ("--images=2", "--skip=overfit", "--skip=memory", "--data.num_workers=0"),
    "detkit visualize --backbone": ("--step=44", "--count=1"),
    "detkit visualize --checkpoint": ("--square=30", "--step=30", "--count=1"),
    "detkit report": ("--data.num_workers=0", "--bootstrap=5", "--images=2", "--device=cpu"),
    "detkit verify": ("--bootstrap=20", "--data.num_workers=0"),
    "python tools/proposals.py": ("--data.num_workers=0", "--search.width=60", "--search.min_size=4"),
}

# Commands and blocks, by page and first words, that are not run here, and why.
NOT_RUN = {
    ("install.md", "DETKIT_CUDA_ARCHS=all pip wheel"): "takes minutes: tests/test_wheel.py makes one",
    ("runtimes.md", "trtexec"): "needs TensorRT, of which there is no wheel here",
    ("runtimes.md", "polygraphy"): "needs TensorRT, of which there is no wheel here",
    ("loggers.md", "tensorboard --logdir"): "serves until it is stopped",
    ("serving.md", "detkit serve"): "serves until it is stopped: tests/engine/commands/test_serve.py does",
    ("serving.md", "curl"): "needs a server: tests/serving/test_application.py sends the request",
    ("segmentation.md", "detkit eval"): "needs label maps: tests/tasks/test_segmentation.py evaluates",
    ("meshes.md", "detkit inspect my/pix3d"): "needs Pix3D: tests/engine/commands/test_inspect.py inspects such files",
    ("detectors.md", "python tools/fit_svms.py"): "needs a trained R-CNN: tests/engine/test_svm.py trains one",
}

# Other pages whose files a page uses.
FILES_OF = {"training.md": ["README.md", "learners.md"]}

# Classes that a page leaves to its reader.
FILES = {
    "my_learners/adaptation.py": """
from detkit.learners import Learner

class Adaptation(Learner):
    sources = ("fog", "synthetic")
""",
    "my_package/tracker.py": """
from detkit.models import VisionModel

class Tracker(VisionModel):
    learns_from = frozenset({"track_ids"})
""",
}

# Languages of blocks that only show something.
SHOWN = {"text": "output, signatures and folders"}

# Where in a config a fragment of YAML belongs, by page and first words; otherwise it is a config over BASE.
UNDER = {
    ("heads.md", "head:"): ("configs/retinanet_shapes.yaml", "model.init_args"),
    ("detectors.md", "rpn:"): ("configs/faster_rcnn_shapes.yaml", "model.init_args"),
    ("detectors.md", "trainer:"): ("configs/yolo_v3_shapes.yaml", ""),
}
BASE = "configs/faster_rcnn_shapes.yaml"

# Python that runs before each block of a page: the names that its text takes as given.
GIVEN = {
    "augmentation.md": "import numpy as np",
    "classification.md": """
from detkit.data import ImageFolderDataset
from detkit.models import Classifier
dataset = ImageFolderDataset("imagenet", "val")
images, targets = map(list, zip(*(dataset[index] for index in range(len(dataset)))))
if "model" not in globals() or "ClassificationEvaluator" in THIS:
    model = Classifier("squeezenet1_1", 2)
    model.categories = dataset.categories
if "ClassificationEvaluator" in THIS:
    predictions = model.predict(images)
    class other:
        state = staticmethod(lambda: {})
""",
    "README.md": "from detkit.preprocess import ShortestEdge",
    "segmentation.md": "import torch; image = torch.zeros(3, 40, 60)",
    "detectors.md": """
import torch
from detkit.backbones import TimmBackbone
from detkit.models import FastRCNN
from detkit.structures import Target
backbone = TimmBackbone("test_resnet", stages=[4])
images = [torch.zeros(3, 64, 64, dtype=torch.uint8)]
proposals = [torch.tensor([[4.0, 4.0, 40.0, 40.0]])]
""",
    "evaluation.md": """
if "model" not in globals():
    import detkit
    from detkit.data import CocoDataset
    from detkit.images import read_image
    model = detkit.load("runs/mine/best.ckpt", device="cpu")
    dataset = CocoDataset("my/folder/images/val", "my/folder/annotations/instances_val.json")
    images, targets = map(list, zip(*(dataset[index] for index in range(len(dataset)))))
    image = read_image("street.jpg")
    loader = [(images, targets)]
    detections = model.predict(images)
from detkit.evaluation import CocoEvaluator
evaluator = CocoEvaluator("instances_val.json", categories=model.categories)
evaluator.update(targets, detections)
evaluator.compute()
if "SemanticEvaluator" in THIS or "PanopticEvaluator" in THIS:
    import torch
    from dataclasses import replace
    from types import SimpleNamespace
    from detkit.structures import SemanticMap
    label_maps = [SemanticMap(torch.ones(image.shape[1:], dtype=torch.uint8)) for image in images]
    panoptic_maps = [SimpleNamespace(panoptic_map=one.label_map.int()) for one in label_maps]
    targets = [
        replace(target, label_map=one.label_map, panoptic_map=one.label_map.int())
        for one, target in zip(label_maps, targets)
    ]
if "MeshEvaluator" in THIS:
    from dataclasses import replace
    from detkit.structures.meshes import Meshes, icosphere
    def balls(count):
        ball = icosphere(1)
        ball = ball.with_vertices(ball.vertices * 0.2 + ball.vertices.new_tensor([0, 0, 1]))
        return Meshes.cat([Meshes([], []), *[ball] * count])
    targets = [replace(target, meshes=balls(len(target))) for target in targets]
    detections = [replace(one, meshes=balls(len(one))) for one in detections]
""",
    "export.md": """
import torch
images = [torch.zeros(3, 64, 96, dtype=torch.uint8)] * 2
""",
    "learners.md": "from torch import nn",
    "ops.md": """
import torch
generator = torch.Generator().manual_seed(0)
corner = torch.rand(200, 2, generator=generator) * 100
boxes = torch.cat([corner, corner + 10], 1)
scores, labels = torch.rand(200, generator=generator), torch.zeros(200, dtype=torch.int64)
image_index = torch.arange(200) % 2
features = torch.rand(1, 4, 50, 50, generator=generator)
rois = torch.cat([torch.zeros(200, 1), boxes * 8], 1)
masks = torch.rand(200, 28, 28, generator=generator)
""",
    "visualization.md": """
import torch, torchvision
net = torchvision.models.resnet18(num_classes=4).eval()
image = torch.rand(3, 64, 64)
images, label = image[None], 1
def normalize(x):
    return x
""",
    "weights.md": """
import torch
import torchvision
from detectron2_reference import random_weights
from meshrcnn_reference import pix3d_branches
pix3d_state_dict = random_weights(True, masks=True, classes=9, seed=0) | pix3d_branches(True, 9, 1)
image = torch.rand(3, 64, 64)
state_dict = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
""",
}  # fmt: skip
