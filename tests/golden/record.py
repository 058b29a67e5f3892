"""Record the golden journals that do not exist yet: ``python -m tests.golden.record``. Those that exist stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from makegood.description import describe
from makegood.store.codec import FIRST_HASH, seal
from tests.engine.kit import Run
from tests.golden.scenarios import SCENARIOS

FOLDER = Path(__file__).parent


def golden(run: Run) -> dict[str, Any]:
    """A run's journal, byte for byte as a store keeps it, and what is told of the run."""
    entries, previous_hash = [], FIRST_HASH
    for number, entry in enumerate(run.entries, start=1):
        one = seal(entry, number, previous_hash)
        previous_hash = one.hash
        entries.append({"data": one.data.decode(), "hash": one.hash.hex()})
    return {"workflow": run.workflow.name, "entries": entries, "told": told(run)}


def told(run: Run) -> dict[str, Any]:
    description: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(describe(run.entries)))
    del description["waiting_for"]  # a sentence, in the local zone, that may be worded anew
    return description


def main() -> None:
    for name, scenario in SCENARIOS.items():
        file = FOLDER / f"{name}.json"
        if not file.exists():
            run = scenario()
            run.execution.program.close()
            text = msgspec.json.format(msgspec.json.encode(golden(run)), indent=1).decode()
            file.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
