"""Start services as processes of their own, for a demo or a test.

`running` gives them as a context manager: whatever happens inside, they are gone afterwards.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from service_kit.faults import AnyFault, FaultPlan


class ServiceProcess:
    """One service with the ledger ``directory/name.db``; it keeps its ledger and its port over restarts."""

    def __init__(self, name: str, build: str, directory: Path) -> None:
        self.name = name
        self.ledger = directory / f"{name}.db"
        self._build = build
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._client: httpx.Client | None = None  # kept, as making one takes longer than many a request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the process; `wait_until_ready` must follow."""
        command = [sys.executable, "-m", "service_kit.run", self._build, "--exit-on-eof"]
        self._process = subprocess.Popen(
            [*command, "--port", str(self._port), "--ledger", str(self.ledger)],
            stdin=subprocess.PIPE,  # closed by the system when this process dies: no service is orphaned
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            process_group=0,  # Ctrl-C is for the demo alone, which then stops its services
        )

    def wait_until_ready(self) -> None:
        if self._process is None or self._process.stdout is None:
            raise RuntimeError(f"The service {self.name} has not been started.")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise RuntimeError(f"The service {self.name} ended with status {status} before it was ready.")
        self._port = json.loads(line)["port"]

    def kill(self) -> None:
        """End the process as ``kill -9`` does. Nothing happens if it has ended already."""
        if self._process is None:
            return
        with self._process as process:  # closes the pipes, waits for the end
            process.kill()
        self._process = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def restart(self) -> None:
        self.kill()
        self.start()
        self.wait_until_ready()

    def set_faults(self, *faults: AnyFault, seed: int = 0) -> None:
        """Replace all its faults: none given, none left."""
        plan = msgspec.json.encode(FaultPlan(list(faults), seed))
        if self._client is None:
            self._client = httpx.Client()
        self._client.put(f"{self.url}/faults", content=plan).raise_for_status()


@contextmanager
def running(builds: Mapping[str, str], directory: Path) -> Iterator[dict[str, ServiceProcess]]:
    """The services named by ``builds`` (name: ``MODULE:FUNCTION``), ready; killed on leaving.

    They import from where this process does, and are started together.
    """
    services = {name: ServiceProcess(name, build, directory) for name, build in builds.items()}
    try:
        for service in services.values():
            service.start()
        for service in services.values():
            service.wait_until_ready()
        yield services
    finally:
        for service in services.values():
            service.kill()
