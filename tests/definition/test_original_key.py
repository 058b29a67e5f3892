"""A compensation can name what it undoes, also when nobody knows whether it happened."""

import asyncio

import pytest

import makegood as mg


def keys_seen_by(probe_finds_it: bool) -> dict[str, tuple[str, str]]:
    seen: dict[str, tuple[str, str]] = {}

    def note(place: str) -> None:
        seen[place] = (mg.original_key(), mg.idempotency_key())

    @mg.step(retry=None)
    async def charge() -> str:
        note("step")
        raise TimeoutError

    @charge.probe
    async def find_charge() -> str:
        note("probe")
        if not probe_finds_it:
            raise ConnectionError
        return "ch_1"

    @charge.compensation
    async def refund(receipt: str | None) -> None:
        note("compensation")

    @mg.workflow
    async def order() -> None:
        await charge()
        raise ValueError("the order is off")

    async def main() -> None:
        async with mg.Engine("memory://") as engine:
            with pytest.raises(mg.RunCompensated):
                await engine.run(order, id="order-42")

    asyncio.run(main())
    return seen


@pytest.mark.parametrize("known", [True, False], ids=["known outcome", "unknown outcome"])
def test_a_compensation_knows_the_key_of_its_step_beside_its_own(known: bool) -> None:
    seen = keys_seen_by(probe_finds_it=known)

    assert seen["compensation"] == ("order-42/1/charge", "order-42/1/charge/undo")


def test_in_a_step_and_its_probe_the_original_key_is_the_idempotency_key() -> None:
    seen = keys_seen_by(probe_finds_it=True)

    assert seen["step"] == seen["probe"] == ("order-42/1/charge", "order-42/1/charge")


def test_outside_a_step_there_is_no_original_key() -> None:
    with pytest.raises(mg.NotInStep, match=r"mg\.original_key\(\)"):
        mg.original_key()
