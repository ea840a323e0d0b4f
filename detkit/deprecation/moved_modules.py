"""Modules that have moved: their old names can still be imported, for one release.

Importing an old name returns the moved module itself, and warns.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from detkit.deprecation import moved_names, warn
from detkit.deprecation.renamed_names import RENAMED_NAMES

MOVED = {
    "backbones.catalogue": "backbones.catalog",
    "axis": "geometry.axis_map",
    "categories": "structures.categories",
    "data.annotations": "data.formats.coco_annotations",
    "data.augmentation": "data.transforms.augmentation",
    "data.bridge": "data.transforms.albumentations_bridge",
    "data.coco": "data.formats.coco",
    "data.columns": "data.packed.columns",
    "data.copy_paste": "data.transforms.copy_paste",
    "data.dataset": "data.detection_dataset",
    "data.eval_transform": "data.transforms.eval_transform",
    "data.image_class": "data.packed.image_class",
    "data.image_folder": "data.formats.image_folder",
    "data.label_maps": "data.maps.label_maps",
    "data.mixing": "data.transforms.mixing",
    "data.moved": "data.transforms.transform_target",
    "data.packed_json": "data.packed.packed_json",
    "data.problems": "data.formats.file_problems",
    "data.readers": "data.formats.field_readers",
    "data.ssd_augmentation": "data.transforms.ssd_augmentation",
    "data.voc": "data.formats.voc",
    "data.writing": "data.formats.writers",
    "data.yolo_txt": "data.formats.yolo_txt",
    "engine.anchors": "engine.commands.fit_anchors",
    "engine.building": "engine.config.building",
    "engine.checkpointing": "engine.callbacks.checkpoints",
    "engine.command": "engine.config.parser",
    "engine.commands.given_file": "engine.commands.prediction.given_file",
    "engine.commands.prediction_files": "engine.commands.prediction.prediction_files",
    "engine.converting": "engine.commands.convert",
    "engine.ema": "engine.callbacks.ema",
    "engine.evaluating": "engine.commands.evaluate",
    "engine.explain": "engine.config.parse_errors",
    "engine.finite": "engine.callbacks.finite",
    "engine.fitting_svms": "engine.commands.fit_svms",
    "engine.lars": "engine.optim.lars",
    "engine.learning": "engine.config.training_arguments",
    "engine.loggers": "engine.callbacks.loggers",
    "engine.config.model_settings": "model_settings",
    "engine.model_settings": "model_settings",
    "engine.multi_scale": "engine.callbacks.multi_scale",
    "engine.old_configs": "engine.config.old_configs",
    "engine.optimization": "engine.optim",
    "engine.pictures": "engine.callbacks.validation_images",
    "engine.predicting": "engine.commands.predict",
    "engine.progress": "engine.callbacks.progress",
    "engine.progressive_resizing": "engine.callbacks.progressive_resizing",
    "engine.proposing": "engine.commands.propose",
    "engine.resolved": "engine.config.resolving_parser",
    "engine.resume": "engine.callbacks.resume",
    "engine.run_folder": "engine.run.run_folder",
    "engine.signals": "engine.callbacks.signals",
    "engine.tasks": "engine.evaluators",
    "engine.time_to_accuracy": "engine.callbacks.time_to_accuracy",
    "engine.training": "engine.commands.train",
    "engine.trust": "engine.config.trust",
    "engine.visualizing": "engine.commands.visualize",
    "evaluation.annotations_file": "evaluation.files.annotations_file",
    "evaluation.bootstrap": "evaluation.coco.bootstrap",
    "evaluation.classification": "evaluation.classification_evaluator",
    "evaluation.coco_json": "evaluation.files.coco_json",
    "evaluation.collector": "evaluation.detection_collector",
    "evaluation.detections_file": "evaluation.files.detections_file",
    "evaluation.evaluation": "evaluation.coco.coco_evaluation",
    "evaluation.image_report": "evaluation.tables.image_report",
    "evaluation.json_columns": "evaluation.files.json_columns",
    "evaluation.localization": "evaluation.localization_evaluator",
    "evaluation.native": "evaluation.coco.native_backend",
    "evaluation.packed": "evaluation.packed_objects",
    "evaluation.protocol": "evaluation.coco.protocol",
    "evaluation.pycocotools_backend": "evaluation.coco.pycocotools_backend",
    "evaluation.report": "evaluation.tables.detection_report",
    "evaluation.tide": "evaluation.coco.tide",
    "evaluation.voc": "evaluation.voc_evaluator",
    "evaluation.well_formed": "evaluation.files.native_readers",
    "fields": "structures.object_fields",
    "heads.box": "heads.region.box",
    "heads.box_cascade": "heads.region.box_cascade",
    "heads.classification": "heads.image.classification",
    "heads.dense_head": "heads.dense.dense_head",
    "heads.fcos": "heads.dense.fcos",
    "heads.image_head": "heads.image.image_head",
    "heads.keypoint": "heads.region.keypoint",
    "heads.levels": "heads.dense.pyramid_layers",
    "heads.localization": "heads.image.localization",
    "heads.mask": "heads.region.mask",
    "heads.old_rpn_arguments": "heads.dense.old_rpn_arguments",
    "heads.overfeat": "heads.dense.overfeat",
    "heads.region_branch": "heads.region.region_branch",
    "heads.region_sampler": "heads.region.region_sampler",
    "heads.region_trunk": "heads.region.region_features",
    "heads.retinanet": "heads.dense.retinanet",
    "heads.rpn": "heads.dense.rpn",
    "heads.selection": "heads.old_selection",
    "heads.ssd": "heads.dense.ssd",
    "heads.svm_box": "heads.region.svm_box",
    "heads.yolo": "heads.dense.yolo.yolo",
    "heads.yolo_v1": "heads.dense.yolo.yolo_v1",
    "heads.yolo_v2": "heads.dense.yolo.yolo_v2",
    "heads.yolo_v3": "heads.dense.yolo.yolo_v3",
    "heads.yolo_v4": "heads.dense.yolo.yolo_v4",
    "image_fields": "structures.image_fields",
    "kind": "structures.kind",
    "learners.batch": "learners.training_batch",
    "models.cascade_rcnn": "models.two_stage.cascade_rcnn",
    "models.classifier": "models.image.classifier",
    "models.fast_rcnn": "models.two_stage.fast_rcnn",
    "models.faster_rcnn": "models.two_stage.faster_rcnn",
    "models.fcos": "models.single_stage.fcos",
    "models.keypoint_rcnn": "models.two_stage.keypoint_rcnn",
    "models.localizer": "models.image.localizer",
    "models.mask_rcnn": "models.two_stage.mask_rcnn",
    "models.overfeat": "models.single_stage.overfeat",
    "models.preprocess": "preprocess",
    "models.raw": "models.raw_graph",
    "models.rcnn": "models.two_stage.rcnn",
    "models.region_pool": "models.two_stage.region_pool",
    "models.retinanet": "models.single_stage.retinanet",
    "models.ssd": "models.single_stage.ssd",
    "models.yolo_v1": "models.single_stage.yolo_v1",
    "models.yolo_v2": "models.single_stage.yolo_v2",
    "models.yolo_v3": "models.single_stage.yolo_v3",
    "models.yolo_v4": "models.single_stage.yolo_v4",
    "pasting": "geometry.pasting",
    "proposals.grouping": "ops.images.grouping",
    "recipe": "object_config",
    "rectangles": "geometry.rectangles",
    "visualization.answers": "visualization.drawing_by_type",
    "visualization.deconvolution": "visualization.attribution.deconvolution",
    "visualization.grad_cam": "visualization.attribution.grad_cam",
    "visualization.layers": "visualization.attribution.named_layers",
    "visualization.occlusion": "visualization.attribution.occlusion",
    "visualization.pictures": "visualization.image_files",
    "visualization.subjects": "visualization.attribution.attribution_target",
    "weights.darknet_cfg": "weights.darknet.cfg",
    "weights.darknet_joints": "weights.darknet.joining_layers",
    "weights.darknet_layers": "weights.darknet.layers",
    "weights.darknet_models": "weights.darknet.models",
    "weights.darknet_network": "weights.darknet.network",
    "weights.darknet_outputs": "weights.darknet.outputs",
    "weights.darknet_tree": "weights.darknet.tree",
    "weights.darknet_weights": "weights.darknet.weights_file",
    "weights.loading": "weights.state_dict",
}
"""From each old name to the new one, both without the prefix ``detkit.``."""

REPLACED = {"data.window": "detkit.geometry.Placement"}
"""From each module that is gone, without the prefix ``detkit.``, to what does its work now."""


class MovedModules(MetaPathFinder):
    """An import finder for old names of modules, called after all others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package == "detkit" and name in REPLACED:
            raise ModuleNotFoundError(f"{fullname} is gone: use {REPLACED[name]}", name=fullname)
        if package != "detkit" or name not in MOVED:
            return None
        return ModuleSpec(fullname, _MovedLoader(f"detkit.{MOVED[name]}"))


class _MovedLoader(Loader):
    def __init__(self, home: str) -> None:
        self.home = home

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Replace the empty module in ``sys.modules``, from which the import system takes the result."""
        warn(f"{module.__name__} is {self.home} now", stacklevel=3)
        home = importlib.import_module(self.home)
        renamed = RENAMED_NAMES.get(module.__name__.removeprefix("detkit."))
        if renamed and not hasattr(home, "__getattr__"):
            names = {old: new if "." in new else f"{self.home}.{new}" for old, new in renamed.items()}
            vars(home)["__getattr__"] = moved_names(module.__name__, names)
        sys.modules[module.__name__] = home
        package, _, name = module.__name__.rpartition(".")
        if not isinstance(getattr(sys.modules[package], name, home), ModuleType):
            sys.modules[package].__class__ = _KeepsNames


class _KeepsNames(ModuleType):
    """A package that exports a function of a moved module's name: importing that module must not take its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not isinstance(value, ModuleType) or isinstance(vars(self).get(name, value), ModuleType):
            super().__setattr__(name, value)


def find_moved_modules() -> None:
    """Register the finder, so that old names can be imported."""
    sys.meta_path.append(MovedModules())
