"""Run a service as a process of its own.

    python -m service_kit.run services.payment:build --port 0 --ledger payment.db

Prints one JSON line, ``{"port": 40123}``, when it accepts requests. SIGTERM and SIGINT end it at once: a
service that may be killed at any instant needs no farewell.
"""

import argparse
import asyncio
import importlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from service_kit.ledger import Ledger


class Protocol(H11Protocol):
    """HTTP whose application can drop the connection: ``scope["state"]["hang_up"]()``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.app_state = {**self.app_state, "hang_up": transport.abort}


class Server(uvicorn.Server):
    """Says on which port it is ready, and leaves the signals that end it to the operating system."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, signal.SIG_DFL)
        print(json.dumps({"port": self.servers[0].sockets[0].getsockname()[1]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="service_kit.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("build", help="MODULE:FUNCTION that makes the application from its ledger")
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any free one")
    parser.add_argument("--ledger", type=Path, required=True, help="the service's SQLite file")
    parser.add_argument(
        "--exit-on-eof", action="store_true", help="end when standard input ends: when the parent dies"
    )
    arguments = parser.parse_args()
    if arguments.exit_on_eof:
        threading.Thread(target=exit_on_eof, daemon=True).start()
    module, _, function = arguments.build.partition(":")
    build: Callable[[Ledger], Starlette] = getattr(importlib.import_module(module), function)
    config = uvicorn.Config(
        build(Ledger(arguments.ledger)),
        port=arguments.port,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,  # clients keep their connections: closing idle ones early only makes races
    )
    Server(config).run()


def exit_on_eof() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would hinder an ordinary end
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
