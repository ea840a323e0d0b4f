"""COCO's files of annotations and of results, read and checked."""
