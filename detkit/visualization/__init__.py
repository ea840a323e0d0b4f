"""Pictures: detections and ground truth drawn into images, and the curves of a training.

Images are RGB. A picture that comes out is a uint8 array ``(H, W, 3)``.
"""

from detkit.visualization.comparison import save_comparison
from detkit.visualization.curves import plot_curves
from detkit.visualization.drawing import class_colour, draw_detections
from detkit.visualization.pictures import to_picture, write_image

__all__ = ["class_colour", "draw_detections", "plot_curves", "save_comparison", "to_picture", "write_image"]
