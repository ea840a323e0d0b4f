"""Files of any kind: listing folders, reading JSON and YAML, writing whole."""

from detkit.files.json_documents import parse_json, read_json
from detkit.files.listing import is_hidden, named_file, visible, visible_below
from detkit.files.writing import open_whole, os_error_of, remove_unfinished, write_whole
from detkit.files.yaml_documents import parse_yaml, read_yaml

__all__ = [
    "is_hidden",
    "named_file",
    "open_whole",
    "os_error_of",
    "parse_json",
    "parse_yaml",
    "read_json",
    "read_yaml",
    "remove_unfinished",
    "visible",
    "visible_below",
    "write_whole",
]
