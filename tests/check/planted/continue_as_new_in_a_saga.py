"""The leg ends with a block still open."""

import makegood as mg


@mg.workflow
async def poll(seen: int = 0) -> None:
    async with mg.saga():
        await mg.sleep(mg.HOUR)
        mg.continue_as_new(seen + 1)  # expect: MG107
