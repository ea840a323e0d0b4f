"""The report of a run: one HTML file that needs no server and no network.

A task gives the sections of its results, `detkit.tasks.Task.report`, made of the parts here: tables, line charts,
confusion matrices and a browser of errors. All of them escape their texts.
"""

from detkit.reporting.evaluated import Evaluated, PageOptions
from detkit.reporting.page import Page, page_html
from detkit.reporting.parts.confusion_part import confusion_part
from detkit.reporting.parts.data_table import Bar, Cell, data_table
from detkit.reporting.parts.error_browser import BrowserImage, ErrorKind, Mark, error_browser
from detkit.reporting.parts.image_strip import StripImage, image_strip
from detkit.reporting.parts.line_chart import Series, line_chart
from detkit.reporting.parts.mark_shapes import Shape, keypoint_shape, mask_shape
from detkit.reporting.parts.mesh_viewer import MeshScene, mesh_viewer
from detkit.reporting.parts.rendering import paragraph
from detkit.reporting.section import Section

__all__ = [
    "Bar",
    "BrowserImage",
    "Cell",
    "ErrorKind",
    "Evaluated",
    "Mark",
    "MeshScene",
    "Page",
    "PageOptions",
    "Section",
    "Series",
    "Shape",
    "StripImage",
    "confusion_part",
    "data_table",
    "error_browser",
    "image_strip",
    "keypoint_shape",
    "line_chart",
    "mask_shape",
    "mesh_viewer",
    "page_html",
    "paragraph",
]
