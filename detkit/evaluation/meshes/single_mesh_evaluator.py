"""The evaluator of meshes of images with one object, as of ShapeNet's renderings (Mesh R-CNN, 2019, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.ground_truth import plain_id
from detkit.evaluation.meshes.given_meshes import check_true_meshes
from detkit.evaluation.meshes.mesh_collector import ImagePairs, KeptObjects, MeshCollector, facts_of
from detkit.evaluation.meshes.mesh_protocol import PROTOCOLS, SAMPLES, ProtocolName
from detkit.evaluation.meshes.object_means import f1_name
from detkit.evaluation.meshes.voxel_iou import object_voxel_iou
from detkit.structures import Category, Target


class SingleMeshEvaluator(MeshCollector[KeptObjects]):
    """Compares the mesh of each image with the true one: distances, normals and F1, by class.

    The means with bare names are those over the classes, which papers on ShapeNet report; those over the objects end in
    ``_per_object``. Voxels are compared in the frustum of the whole image, within the answer's ``depth_range``: with
    the `voxels` of the target or, where it has none, with those of its mesh, which must then be closed.

    Args:
        annotations: path of a COCO file with the images and categories of the data, or its content. The truth is the
            one mesh in the `meshes` of each target, and its class: the label of the object, else the `image_label`.
        categories: as of `detkit.evaluation.MeshEvaluator`.
        protocol: ``meshrcnn`` scales the true mesh to a longest edge of 10 and counts points nearer than 0.1 to 0.5;
            ``pixel2mesh`` multiplies meshes by 0.57 and counts points nearer than the roots of 1e-4 and 2e-4.
        samples: points drawn from each mesh.
        seed: of the points; those of an image depend on it and on the image's id alone.
        voxel_threshold: voxels of at least this probability are occupied, the paper's 0.2; None: they are not compared.

    Raises:
        InputError: the annotations cannot be read, a category is not among theirs, there is no such protocol, or
            `samples` is below 1.
    """

    title = "meshes of single objects"
    ceiling_bounds = (0.9, 0.6)

    def __init__(
        self,
        annotations: str | Path | dict,
        categories: Sequence[Category] | None = None,
        protocol: ProtocolName = "meshrcnn",
        samples: int = SAMPLES,
        seed: int = 0,
        voxel_threshold: float | None = 0.2,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise InputError(f"protocol is {protocol!r}; choose one of {', '.join(get_args(ProtocolName))}")
        chosen = PROTOCOLS[protocol]
        super().__init__(annotations, categories, chosen, samples, seed)
        self.name = "mesh" if protocol == "meshrcnn" else f"mesh_{protocol}"
        self.voxel_threshold = voxel_threshold
        self.headline = f1_name(0.3 if protocol == "meshrcnn" else chosen.thresholds[0])

    def pairs(self, target: Target, answer: Any) -> ImagePairs | None:
        """The mesh of the answer, and that of the target.

        Raises:
            InputError: one of them has another number of meshes than one, or the target has no class.
        """
        image_id = plain_id(target.image_id)
        true = target.meshes
        if true is None:
            return None
        predicted = self.meshes_of(image_id, answer)
        for owner, meshes in (("target", true), ("answer", predicted)):
            if len(meshes) != 1:
                raise InputError(
                    f"image {image_id!r}: the {owner} has {len(meshes)} meshes; give one, or evaluate detections with "
                    "MeshEvaluator"
                )
        check_true_meshes(true, f"image {image_id!r}: true mesh")
        given = target.image_label if target.labels is None else int(target.labels[0])
        if given is None:
            raise InputError(f"image {image_id!r}: the object has no class; give its label, or an image_label")
        label = np.array([given])
        self.check_labels(image_id, "target", label, len(self.truth.categories))
        facts, voxels = facts_of(true, target.boxes), np.nan
        if self.voxel_threshold is not None:
            size = self.truth.image_sizes.get(image_id)
            voxels = object_voxel_iou(image_id, answer, target, size, self.voxel_threshold)

        def finish(rows: np.ndarray) -> KeptObjects:
            return KeptObjects(label, np.append(rows, [[voxels]], axis=1), facts)

        return ImagePairs(predicted, true, finish)
