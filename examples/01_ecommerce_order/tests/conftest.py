from collections.abc import Iterator
from pathlib import Path

import pytest
from service_kit import in_process
from service_kit.ledger import Ledger
from services import email, inventory, payment, shipping
from tests.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    modules = {"payment": payment, "inventory": inventory, "shipping": shipping, "email": email}
    ledgers = {name: Ledger(tmp_path / f"{name}.db") for name in modules}
    clients = {name: in_process.client(module.build(ledgers[name])) for name, module in modules.items()}
    yield Shop(tmp_path, ledgers, clients)
    for ledger in ledgers.values():
        ledger.close()
