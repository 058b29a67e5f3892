"""The demo's real processes: four services, and the engine that is killed and started again."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from service_kit.processes import ServiceProcess, running

import makegood as mg

SERVICES = ("payment", "inventory", "shipping", "email")
ENGINE = Path(__file__).parent.parent / "engine_process.py"


class EngineEnded(Exception):
    """The engine's process ended, and nobody had killed it."""


class EngineProcess:
    """`engine_process.py` on one store, with the services' URLs."""

    def __init__(self, store_url: str, services: dict[str, ServiceProcess], log: Path) -> None:
        self._store_url = store_url
        self._services = services
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        urls = {f"{name.upper()}_URL": service.url for name, service in self._services.items()}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ENGINE), self._store_url],
                stdin=subprocess.PIPE,  # its end is the engine's
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **urls, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,  # Ctrl-C is for the demo alone, which then stops its processes
            )
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise EngineEnded(f"The engine's process did not start:\n{self._log.read_text()}")

    def kill(self) -> None:
        """``kill -9``. Nothing happens if it has ended already."""
        if self._process is not None:
            with self._process as process:  # closes the pipes, waits for the end
                process.kill()
        self._process = None

    def check(self) -> None:
        """Raise if it has ended without being killed."""
        if self._process is not None and self._process.poll() is not None:
            raise EngineEnded(f"The engine's process ended by itself:\n{self._log.read_text()}")


class Stage:
    """Everything that runs. ``client`` starts orders and looks at them; it is no worker itself."""

    def __init__(
        self, directory: Path, services: dict[str, ServiceProcess], engine: EngineProcess, client: mg.Engine
    ) -> None:
        self.directory = directory
        self.services = services
        self.engine = engine
        self.client = client

    def faults_that_struck(self) -> int:
        """By the services' present fault plans."""
        return sum(
            sum(httpx.get(f"{service.url}/faults").json()["fired"]) for service in self.services.values()
        )

    def deliver(self, sku: str, quantity: int) -> None:
        """A supplier fills the shelf."""
        httpx.post(
            f"{self.services['inventory'].url}/deliveries",
            json={"order_id": "supply", "sku": sku, "quantity": quantity},
            headers={"Idempotency-Key": f"supply/{sku}"},
        ).raise_for_status()


@asynccontextmanager
async def set_up(directory: Path) -> AsyncIterator[Stage]:
    """Start it all in this directory; whatever happens, nothing is left running."""
    store_url = f"sqlite:///{directory / 'orders.db'}"
    with running({name: f"services.{name}:build" for name in SERVICES}, directory) as services:
        engine = EngineProcess(store_url, services, directory / "engine.log")
        try:
            engine.start()
            async with mg.Engine(store_url, work=False) as client:
                yield Stage(directory, services, engine, client)
        finally:
            engine.kill()
