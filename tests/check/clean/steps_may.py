"""Steps may do what workflows must not: clocks, chance, files, the network."""

import os
import random
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx

import makegood as mg
from tests.check.world import bank


client = httpx.AsyncClient()
seen: list[str] = []


@mg.step(timeout=10)
def write(order: str) -> str:
    time.sleep(0.1)
    seen.append(f"{time.time()} {random.random()} {os.environ['USER']} {datetime.now(UTC)}")
    Path(f"{order}-{mg.idempotency_key().replace('/', '-')}").write_text(order)
    return str(uuid.uuid4())


@write.compensation
def remove(written: str | None, order: str) -> None:
    Path(f"{order}-{mg.original_key().replace('/', '-')}").unlink(missing_ok=True)


@mg.step(timeout=10)
async def post(order: str) -> None:
    await client.post("https://bank.example", json=order, headers={"Idempotency-Key": mg.idempotency_key()})


@mg.workflow
async def fulfil(order: str) -> None:
    await post(await write(order))
