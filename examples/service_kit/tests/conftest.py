from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from service_kit import in_process
from service_kit.ledger import Ledger
from service_kit.tests.marks import build


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "marks.db", now=lambda: 1_700_000_000.0)
    yield ledger
    ledger.close()


@pytest.fixture
def client(ledger: Ledger) -> httpx.Client:
    return in_process.client(build(ledger))
