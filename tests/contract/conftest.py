from pathlib import Path

import pytest

from tests.contract.places import PLACES, SHARED_PLACES, Place


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture(params=SHARED_PLACES)
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return SHARED_PLACES[request.param](tmp_path)
