"""The labels of an XML file of CVAT."""

from __future__ import annotations

from detkit.files.xml_documents import Element


def listed_labels(tree: Element) -> list[str]:
    """The labels in the description of the task, project or job, in their order; empty without one."""
    for part in tree.child("meta").children():
        labels = [label.child("name").text for label in part.child("labels").children("label")]
        if labels:
            return list(dict.fromkeys(filter(None, labels)))
    return []


def used_labels(tree: Element) -> set[str]:
    """The labels of shapes and tracks."""
    shapes = (shape for image in tree.children("image") for shape in image.children())
    return {one.attributes.get("label", "") for one in (*shapes, *tree.children("track"))} - {""}
