"""Readers of COCO's annotation and results files for evaluation, with checks."""
