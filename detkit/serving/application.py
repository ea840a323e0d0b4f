"""The application: the page, the endpoint and what is said of the model."""

from __future__ import annotations

import logging
import mimetypes
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool

import detkit
from detkit.files import json_text
from detkit.models import VisionModel
from detkit.serving.admission import Admission
from detkit.serving.answering import Answering, Outcome
from detkit.serving.limits import Limits
from detkit.serving.upload_page import page_response
from detkit.serving.uploads import FIELD, read_uploads
from detkit.visualization.image_files import encoded_image

logger = logging.getLogger(__name__)

_IMAGES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _IMAGES}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"description": "larger than the limits"},
    422: {"description": "an image is broken or has too many pixels, or a parameter is wrong"},
    503: {"description": "too many requests wait; Retry-After says when to come back"},
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}


def application(model: VisionModel, limits: Limits | None = None, focal_length: float | None = None) -> FastAPI:
    """A FastAPI application that answers uploaded images with a model, to run by itself or to mount in another.

    ``GET /`` is an upload page, ``POST /predict`` the endpoint, ``GET /health`` describes the model, and
    ``GET /openapi.json`` the endpoints. There is no authentication.

    Args:
        model: it must not be used elsewhere at the same time.
        limits: what a request may hold; default: ``Limits()``.
        focal_length: of the camera of all images, in their pixels, for a model that asks for cameras. Their centers
            are the principal points.

    Raises:
        InputError: the model needs more than an image, such as proposals, or a camera without `focal_length`.
    """
    own = limits or Limits()
    answering, admission = Answering(model, own, focal_length), Admission(own.max_waiting)
    app = FastAPI(title=f"detkit: {type(model).__name__}", version=detkit.__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(RequestValidationError, _wrong_query)

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return page_response()

    @app.get("/health")
    def health() -> Response:
        """The model and its classes, task and licenses, and how many requests wait."""
        return _json(_facts(answering) | {"waiting": admission.count})

    @app.post("/predict", openapi_extra=_BODY, responses=_REFUSALS)
    async def predict(
        request: Request,
        score: Annotated[float | None, Query(ge=0, le=1, description="minimum score of results")] = None,
        image: Annotated[bool, Query(description="also give each image with its results drawn into it")] = False,
        file: Annotated[str | None, Query(description="ending of a file of `predict --files`: labels.png")] = None,
    ) -> Response:
        """The results of each image. `Accept: image/png` gives one image, drawn; `file`, one file of its results."""
        _check_ending(answering, file)
        least = answering.task.least_score if score is None else score
        with admission.place():
            outcomes = await _outcomes(answering, request, own)
            if file is not None:
                return await run_in_threadpool(_file, answering, outcomes, least, file)
            if "image/png" in request.headers.get("accept", ""):
                return await run_in_threadpool(_drawn, answering, outcomes, least)
            return await run_in_threadpool(_entries, answering, outcomes, least, image)

    return app


async def _outcomes(answering: Answering, request: Request, limits: Limits) -> list[Outcome]:
    uploads = await read_uploads(request, limits)
    try:
        outcomes = await answering.outcomes(uploads)
    except Exception as error:
        logger.exception("the model failed")
        raise HTTPException(500, "The model failed; the log of the server says why.") from error
    errors = [one.error for one in outcomes if one.answered is None]
    if len(errors) == len(outcomes):
        raise HTTPException(422, "; ".join(errors))
    return outcomes


def _entries(answering: Answering, outcomes: list[Outcome], score: float, is_drawn: bool) -> Response:
    return _json({"images": [answering.entry(one, score, is_drawn) for one in outcomes]})


def _drawn(answering: Answering, outcomes: list[Outcome], score: float) -> Response:
    answered = outcomes[0].answered
    if len(outcomes) != 1 or answered is None:
        raise HTTPException(422, f"Accept: image/png is for one image, not for {len(outcomes)}: ask for ?image=true.")
    return Response(encoded_image(answering.drawn(answered, score), ".png"), media_type="image/png")


def _file(answering: Answering, outcomes: list[Outcome], score: float, ending: str) -> Response:
    answered = outcomes[0].answered
    if len(outcomes) != 1 or answered is None:
        raise HTTPException(422, f"file is for one image, not for {len(outcomes)}.")
    kind = mimetypes.guess_type(f"file.{ending}")[0] or "application/octet-stream"
    return Response(answering.file(answered, score, ending), media_type=kind)


def _check_ending(answering: Answering, ending: str | None) -> None:
    known = answering.task.answer_files
    if ending is not None and ending not in known:
        words = f"has {', '.join(known)}" if known else "has no files"
        raise HTTPException(422, f"file: {ending!r} is no file of the task {answering.task.name}, which {words}.")


def _facts(answering: Answering) -> dict[str, Any]:
    model = answering.model
    return {
        "status": "ok",
        "model": type(model).__name__,
        "task": answering.task.name,
        "classes": [category.name for category in answering.categories],
        "score": answering.task.least_score,
        "licenses": [source.record() for source in model.provenance],
        "limits": vars(answering.limits),
        "version": detkit.__version__,
    }


def _wrong_query(request: Request, error: Exception) -> Response:
    """One sentence in place of FastAPI's list."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _json({"detail": f"{first['loc'][-1]}: {first['msg']}, got {first.get('input')!r}."}, 422)


def _json(content: Any, status: int = 200) -> Response:
    return Response(json_text(content), status, media_type="application/json")
