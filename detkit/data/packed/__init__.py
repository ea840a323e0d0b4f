"""Annotations of a whole data set in a few arrays."""

from detkit.deprecation import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "PackedJson": "detkit.data.packed.packed_json.PackedJson",
        "PackedAnnotations": "detkit.data.packed.packed_annotations.PackedAnnotations",
    },
)
