"""The process that runs the workflow: an engine on the store named on the command line.

    PAYMENT_URL=http://… INVENTORY_URL=… SHIPPING_URL=… EMAIL_URL=… python engine_process.py sqlite:///orders.db

It may be killed at any instant. Started again, it goes on where its journal ends.
"""

import asyncio
import os
import signal
import sys
import threading

import workflow

import makegood as mg


async def main(store_url: str) -> None:
    async with mg.Engine(store_url, [workflow]) as engine:
        serving = asyncio.ensure_future(engine.serve())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        print("ready", flush=True)
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()  # the store failed: say so


def exit_with_parent() -> None:
    """End when standard input does: no engine outlives the demo that started it."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=exit_with_parent, daemon=True).start()
    asyncio.run(main(sys.argv[1]))
