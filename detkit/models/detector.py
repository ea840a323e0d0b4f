"""`Detector`, the base class of models that predict `Detections`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from detkit.deprecation import moved_names
from detkit.models.predicting import Given, Images, Score, StreamInput
from detkit.models.predicting.image_inputs import ImageInput
from detkit.models.vision_model import VisionModel as VisionModel
from detkit.structures import Detections, Target


class Detector(VisionModel):
    """A model that predicts `Detections`.

    Args:
        num_classes: classes without background.
    """

    task = "detkit.tasks.Detection"
    num_classes: int

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)

    if TYPE_CHECKING:  # the type of the answers; the methods are those of `VisionModel`

        @overload
        def predict(  # type: ignore[overload-overlap]  # a path is also a sequence of strings
            self, inputs: ImageInput, batch_size: int = 8, given: Target | None = None, *, score_threshold: Score = None
        ) -> Detections: ...

        @overload
        def predict(
            self, inputs: Images, batch_size: int = 8, given: Given = None, *, score_threshold: Score = None
        ) -> list[Detections]: ...

        def predict(self, inputs: Any, *arguments: Any, **options: Any) -> Any: ...

        def stream(
            self, source: StreamInput, batch_size: int | None = None, *, score_threshold: Score = None
        ) -> Generator[Detections, None, None]: ...

        def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> list[Detections]: ...


__getattr__ = moved_names(
    __name__,
    {name: f"detkit.models.check_inputs.{name}" for name in ("check_image", "check_images", "check_targets")}
    | {"Answer": "detkit.models.answers.Answer"},
)
