"""Two-stage detectors: one file for each system."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "Raw": "detkit.models.two_stage.two_stage_detector.Raw",
        "TwoStageDetector": "detkit.models.two_stage.two_stage_detector.TwoStageDetector",
    },
)
