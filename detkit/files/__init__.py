"""Files of any kind: listing folders, matching names, reading JSON, YAML, XML, text and torch files, writing whole."""

from detkit.files.file_bytes import read_bytes
from detkit.files.file_names import FileNames, path_parts
from detkit.files.json_documents import json_text, parse_json, read_json
from detkit.files.listing import is_hidden, named_beside, named_file, named_path, visible, visible_below
from detkit.files.writing import (
    check_writable,
    not_written,
    open_whole,
    open_whole_folder,
    os_error_of,
    remove_unfinished,
    write_into,
    write_whole,
)
from detkit.files.yaml_documents import parse_yaml, read_yaml

__all__ = [
    "FileNames",
    "check_writable",
    "is_hidden",
    "json_text",
    "named_beside",
    "named_file",
    "named_path",
    "not_written",
    "open_whole",
    "open_whole_folder",
    "os_error_of",
    "parse_json",
    "parse_yaml",
    "path_parts",
    "read_bytes",
    "read_json",
    "read_yaml",
    "remove_unfinished",
    "visible",
    "visible_below",
    "write_into",
    "write_whole",
]
