"""``makegood demo``: the e-commerce example, run for real, from the wheel or from the source checkout."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import makegood
from makegood import UsageError

if TYPE_CHECKING:
    from types import FrameType

EXAMPLE = Path("01_ecommerce_order")
NEEDED_PACKAGES = ("httpx", "starlette", "uvicorn")


def demo(context: typer.Context) -> None:
    """Run an order saga on real services, and audit it.

    With faults and kills. Options go to the demo itself.
    """
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"the demo needs {', '.join(missing)}: pip install 'makegood[examples]'.")
    raise typer.Exit(_run(find_example(Path(makegood.__file__).parent), context.args))


def find_example(package: Path) -> Path:
    """The example's folder: in the installed package, or else in the source checkout around it.

    Raises:
        UsageError: it is in neither.
    """
    places = [package / "_examples" / EXAMPLE, package.parents[1] / "examples" / EXAMPLE]
    for place in places:
        if (place / "demo.py").is_file():
            return place
    raise UsageError(f"the example {EXAMPLE} is missing: neither {places[0]} nor {places[1]} has a demo.py.")


def _run(directory: Path, arguments: list[str]) -> int:
    paths = [str(directory), str(directory.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    with subprocess.Popen(  # noqa: S603 - our own example
        [sys.executable, "demo.py", *arguments], cwd=directory, env=environment
    ) as child:

        def pass_on(number: int, _frame: FrameType | None) -> None:
            child.send_signal(number)

        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),  # the terminal tells the child, too
        }
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code
