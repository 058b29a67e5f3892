"""An e-commerce order saga on real processes: faults, kills, and an audit of the services' own ledgers.

    python demo.py [--orders N] [--seed N]

Exit status: 0 when everything went as told and adds up, 1 when something did not.
"""

import argparse
import asyncio
import io
import random
import sys
from pathlib import Path

EXAMPLES = str(Path(__file__).resolve().parent.parent)


def main() -> int:
    parser = argparse.ArgumentParser(prog="makegood demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, default=200, help="for the storm (200); 0: scenarios only")
    parser.add_argument("--seed", type=int, help="of the orders, the faults and the kills; random by default")
    arguments = parser.parse_args()
    if EXAMPLES not in sys.path:  # run alone: service_kit is a neighbour
        sys.path.append(EXAMPLES)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    from stage.show import show

    seed = random.randrange(10_000) if arguments.seed is None else arguments.seed
    try:
        return asyncio.run(show(arguments.orders, seed))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
