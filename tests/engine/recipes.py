"""Small recipes: a detector of our own that is fast, and a real one with random sampling and batch norm.

And drawn images from which every recipe learns within a few steps.
"""

from detkit.data import ShapesOptions

TINY = {
    "model": {"class_path": "tiny_detector.TinyDetector"},
    "data": {"num_workers": 0, "batch_size": 2, "aspect_ratio_grouping": False},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9}},
    "pictures": 0,
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, "num_sanity_val_steps": 0},
}

FASTER_RCNN = {
    "class_path": "FasterRCNN",
    "init_args": {
        "backbone": {"class_path": "TimmBackbone", "init_args": {"name": "test_resnet"}},
        "neck": {"class_path": "FPN", "init_args": {"out_channels": 8}},
        "rpn": {
            "class_path": "RPN",
            "init_args": {
                "postprocess": {"class_path": "NMS", "init_args": {"candidates": 20, "detections": 20}},
                "postprocess_for_training": {"class_path": "NMS", "init_args": {"candidates": 40, "detections": 40}},
            },
        },
        "box_head": {
            "class_path": "BoxHead",
            "init_args": {"trunk": {"class_path": "TwoFullyConnected", "init_args": {"hidden": 16}}},
        },
        "regions_per_image": 16,
        "preprocess": {"class_path": "ShortestEdge", "init_args": {"min_size": 64, "max_size": 96}},
    },
}


def large_shapes(counts: dict[str, int], image_size: tuple[int, int], **others: float) -> ShapesOptions:
    """Small images of few large objects that stand out; `others` are further options."""
    names = ("disc", "box", "triangle", "ring", "star")
    return ShapesOptions(
        counts=counts, image_size=image_size, names=names, max_objects=3, min_object_size=16, contrast=150, **others
    )
