"""The upload page: one static file, which asks the application for everything that depends on the model."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files

from starlette.responses import HTMLResponse


def page_response() -> HTMLResponse:
    """The page, with a policy under which only its own script runs and only the application is asked."""
    html, script_hash = _page()
    policy = (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})


@functools.cache
def _page() -> tuple[str, str]:
    """The page with its style and script, and the hash of the script."""
    html, style, script = (
        files("detkit.serving").joinpath("assets", name).read_text(encoding="utf-8")
        for name in ("upload.html", "upload.css", "upload.js")
    )
    page = html.replace("{{ style }}", style).replace("{{ script }}", script)
    return page, base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
