"""Ways to apply a segmentation model to whole images: at once, by windows, in several views."""

from detkit.models.pixel.inference.sliding_window import SlidingWindow
from detkit.models.pixel.inference.test_time_views import Views
from detkit.models.pixel.inference.whole import Whole

__all__ = ["SlidingWindow", "Views", "Whole"]
