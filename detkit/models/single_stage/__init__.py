"""Single-stage detectors: one file for each system."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "MakeHead": "detkit.models.single_stage.single_stage_detector.MakeHead",
        "MakeNeck": "detkit.models.single_stage.single_stage_detector.MakeNeck",
        "SingleStageDetector": "detkit.models.single_stage.single_stage_detector.SingleStageDetector",
    },
)
