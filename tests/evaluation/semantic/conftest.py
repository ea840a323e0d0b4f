"""Random label maps, and hotcoco's numbers of them."""

import json
from pathlib import Path

import pytest
from drawn_maps import Maps, draw_maps


@pytest.fixture(params=range(8))
def maps(request) -> Maps:
    return draw_maps(request.param)


@pytest.fixture(scope="session")
def hotcoco_cases() -> list[dict]:
    """For seeds of `draw_maps`: the confusion matrix and the numbers of hotcoco 1.3.0."""
    return json.loads((Path(__file__).parent / "hotcoco_semantic.json").read_text())
