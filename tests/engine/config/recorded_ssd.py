"""The recipe of a small model, as a checkpoint records it."""

SSD = {
    "class_path": "SSD",
    "init_args": {
        "num_classes": 1,
        "backbone": {"class_path": "TorchvisionBackbone", "init_args": {"name": "squeezenet1_1", "stages": [2, 3]}},
        "neck": {"class_path": "ExtraLayers", "init_args": {"layers": []}},
        "preprocess": {"class_path": "Square", "init_args": {"size": 64}},
    },
}
SSD_OF_TWO_CLASSES = SSD | {"init_args": SSD["init_args"] | {"num_classes": 2}}
