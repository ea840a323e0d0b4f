"""Maps made of the masks of objects: their classes, the borders between them, and weights of these."""

from detkit.data.instance_maps.instance_map_dataset import InstanceMaps
from detkit.data.instance_maps.nearest_objects import separation_weights, two_nearest
from detkit.data.instance_maps.painted_masks import paint_masks

__all__ = ["InstanceMaps", "paint_masks", "separation_weights", "two_nearest"]
