"""A model behind HTTP: an upload page and a JSON endpoint, as an application that others can mount."""

from detkit.serving.application import application
from detkit.serving.limits import Limits

__all__ = ["Limits", "application"]
