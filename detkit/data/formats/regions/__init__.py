"""Regions as annotation programs draw them, and the objects of a COCO file that they make up."""
