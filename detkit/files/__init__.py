"""Files of any kind: listing folders, matching names, reading JSON and YAML, writing whole."""

from detkit.files.file_names import FileNames, path_parts
from detkit.files.json_documents import json_text, parse_json, read_json
from detkit.files.listing import is_hidden, named_file, visible, visible_below
from detkit.files.writing import open_whole, remove_unfinished, write_whole
from detkit.files.yaml_documents import parse_yaml, read_yaml

__all__ = [
    "FileNames",
    "is_hidden",
    "json_text",
    "named_file",
    "open_whole",
    "parse_json",
    "parse_yaml",
    "path_parts",
    "read_json",
    "read_yaml",
    "remove_unfinished",
    "visible",
    "visible_below",
    "write_whole",
]
