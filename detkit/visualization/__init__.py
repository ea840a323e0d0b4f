"""Drawings of detections and ground truth, training curves, and attribution maps of a network.

Images are RGB; the functions return uint8 arrays ``(H, W, 3)``.
"""

from detkit.deprecation import moved_names
from detkit.visualization.attribution.deconvolution import project, strongest_units
from detkit.visualization.attribution.grad_cam import grad_cam
from detkit.visualization.attribution.named_layers import stage_layers
from detkit.visualization.attribution.occlusion import occlusion_sensitivity
from detkit.visualization.comparison import save_comparison
from detkit.visualization.curves import plot_curves
from detkit.visualization.drawing import class_color, draw_answer, draw_classes, draw_detections
from detkit.visualization.drawing_by_type import Drawing
from detkit.visualization.image_files import to_image_array, write_image

__all__ = [
    "Drawing",
    "class_color",
    "draw_answer",
    "draw_classes",
    "draw_detections",
    "grad_cam",
    "occlusion_sensitivity",
    "plot_curves",
    "project",
    "save_comparison",
    "stage_layers",
    "strongest_units",
    "to_image_array",
    "write_image",
]

__getattr__ = moved_names(
    __name__,
    {
        "class_colour": "detkit.visualization.class_color",
        "to_picture": "detkit.visualization.to_image_array",
    },
)
