"""``run.fork()``: another run goes on from where an ended one stood."""

import pytest

import makegood as mg
from makegood.store.memory import MemoryStore
from makegood.store.protocol import Write
from tests.until import parked
from tests.worker.engines import engine_on

pytestmark = pytest.mark.anyio


class Shop:
    """The effects by key, and what is refused."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.refused: set[str] = set()


SHOP = Shop()


@pytest.fixture(autouse=True)
def shop() -> Shop:
    SHOP.__init__()  # type: ignore[misc]
    return SHOP


@mg.step(retry=None)
async def charge(order: str) -> str:
    SHOP.effects.append(f"charge {mg.idempotency_key()}")
    return "receipt"


@charge.compensation
async def refund(receipt: str | None, order: str) -> None:
    SHOP.effects.append(f"refund {mg.original_key()} {mg.idempotency_key()}")


@mg.step(retry=None, on_exhausted="park")
async def reserve(order: str) -> str:
    if "reserve" in SHOP.refused:
        raise RuntimeError("sold out")
    return "hold"


@mg.step(retry=None)
async def ship(order: str) -> str:
    if "ship" in SHOP.refused:
        raise RuntimeError("no van")
    return "label"


@mg.workflow
async def fulfil(order: str) -> str:
    receipt = await charge(order)
    hold = await reserve(order)
    return f"{receipt} {hold} {await ship(order)}"


async def stopped(engine: mg.Engine) -> mg.RunHandle[str]:
    """A run that charged, was parked, and was ended at once."""
    SHOP.refused.add("reserve")
    run = await engine.start(fulfil, "o-1", id="f-1")
    await parked(run)
    await run.terminate("stock-taking")
    SHOP.refused.clear()
    return run


async def test_it_goes_on_without_a_second_charge():
    async with mg.Engine("memory://") as engine:
        run = await stopped(engine)
        fork = await run.fork("reserve", id="f-2", why="in stock again", by="ann")
        assert await fork.result() == "receipt hold label"
        assert SHOP.effects == ["charge f-1/1/charge"]
        started = (await fork.history())[0]
        assert (started.fields["by"], started.fields["why"]) == ("ann", "in stock again")
        assert await fork.verify() > 0


async def test_if_it_fails_it_undoes_what_it_took_over():
    async with mg.Engine("memory://") as engine:
        run = await stopped(engine)
        SHOP.refused.add("ship")
        fork = await run.fork("reserve", id="f-2")
        with pytest.raises(mg.RunCompensated):
            await fork.result()
        assert SHOP.effects[1:] == ["refund f-1/1/charge f-1/1/charge/undo"]


async def test_it_survives_a_restart():
    store = MemoryStore()
    async with engine_on(store, fulfil) as engine:
        run = await stopped(engine)
    async with engine_on(store, fulfil, work=False) as client:
        await (await client.get(run.id)).fork("reserve", id="f-2")
    async with engine_on(store, fulfil) as engine:
        assert await (await engine.get("f-2")).result() == "receipt hold label"


async def test_the_id_must_be_free():
    async with mg.Engine("memory://") as engine:
        run = await stopped(engine)
        with pytest.raises(mg.RunConflict, match="give the fork another id"):
            await run.fork("reserve", id="f-1")


class DyingStore(MemoryStore):
    """Its process dies at a fork: before it is durable, or before anybody hears of it."""

    dies = ""

    async def submit(self, write: Write) -> bool:
        if self.dies == "before":
            raise mg.StoreError("the process died")
        created = await super().submit(write)
        if self.dies == "unacknowledged":
            raise mg.StoreError("the process died")
        return created


@pytest.mark.parametrize("dies", ["before", "unacknowledged"])
async def test_asking_again_after_a_crash_gives_one_fork(dies):
    store = DyingStore()
    async with engine_on(store, fulfil) as engine:
        run = await stopped(engine)
        store.dies = dies
        with pytest.raises(mg.StoreError):
            await run.fork("reserve", id="f-2")
    store.dies = ""
    async with engine_on(store, fulfil) as engine:
        run = await engine.get("f-1")
        for _ in range(2):
            fork = await run.fork("reserve", id="f-2")
        assert await fork.result() == "receipt hold label"
        assert len(await engine.list()) == 2
    assert SHOP.effects == ["charge f-1/1/charge"]
