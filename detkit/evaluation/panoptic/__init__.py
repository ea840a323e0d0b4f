"""The evaluation of panoptic maps: panoptic quality from matched segments."""
