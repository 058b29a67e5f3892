"""Functions that call each other in every way: each is entered, and the walk comes to an end."""

import makegood as mg


async def first(depth: int) -> int:
    return await second(depth) + await third(depth) + await first(depth - 1)


async def second(depth: int) -> int:
    while depth:
        depth -= await first(depth) + await third(depth) + await second(depth)
    return await confirm(depth)


async def third(depth: int) -> int:
    for step in range(depth):
        depth -= await first(step) + await second(step) + await third(step)
    return await confirm(depth)


@mg.step
async def confirm(depth: int) -> int:
    return depth


@mg.workflow
async def count(depth: int) -> int:
    await count(depth - 1)
    return await first(depth) + await second(depth) + await third(depth)
