"""``detkit serve``: a model behind an upload page and a JSON endpoint."""

from detkit.engine.commands.serve.serve_command import DESCRIPTION, serve_command

__all__ = ["DESCRIPTION", "serve_command"]
