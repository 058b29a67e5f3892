"""What an operator or a sender says that no journal could hold: refused where it is said, and nothing else is disturbed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import makegood as mg
from tests.until import eventually

pytestmark = pytest.mark.anyio

Anything = mg.Signal("anything", Any)
Ask = mg.Update("ask", int, int)
TEXTS = {"a lone surrogate": "\ud800", "a number": 5, "far too long": "x" * 10_001}


@mg.step(retry=None, on_exhausted="park")
async def approve() -> None:
    raise RuntimeError("nobody is in")


@mg.step
async def elsewhere() -> mg.Pending | None:
    Desk.tokens.append(mg.completion_token())
    return mg.PENDING


@mg.workflow(schedule="0 0 29 2 *")
async def wait() -> Any:
    return await Anything.receive()


@mg.workflow
async def approved() -> None:
    await approve()


@mg.workflow
async def completed() -> None:
    await elsewhere()


class Desk:
    """A worker, runs that wait for one thing each, and the engine from which something is asked of them."""

    tokens: list[str]

    def __init__(self, worker: mg.Engine, client: mg.Engine) -> None:
        Desk.tokens = []
        self.worker = worker
        self.client = client

    async def start(self) -> None:
        for workflow in (wait, approved, completed):
            await self.worker.start(workflow, id=workflow.name)
        self.waiting, self.parked, self.pending = [
            await self.client.get(one.name) for one in (wait, approved, completed)
        ]

        async def all_there() -> bool:
            return bool((await self.parked.describe()).parked) and "StepPending" in await self.events(
                self.pending
            )

        await eventually(all_there)

    async def events(self, run: mg.RunHandle[Any]) -> list[str]:
        return [item.event for item in await run.history()]

    async def all_events(self) -> list[list[str]]:
        return [await self.events(run) for run in (self.waiting, self.parked, self.pending)]


@pytest.fixture(params=["in the worker's process", "from another process"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    url = "memory://" if "another" not in request.param else f"sqlite:///{tmp_path}/desk.db"
    async with mg.Engine(url, [wait]) as worker:
        if "another" not in request.param:
            yield Desk(worker, worker)
        else:
            async with mg.Engine(url, work=False) as client:
                yield Desk(worker, client)


ACTS: dict[str, Callable[[Desk, Any], Awaitable[object]]] = {
    "signal, by": lambda desk, text: desk.waiting.signal(Anything, 1, by=text),
    "update, by": lambda desk, text: desk.waiting.update(Ask, 1, by=text),
    "cancel, why": lambda desk, text: desk.waiting.cancel(text),
    "cancel, by": lambda desk, text: desk.waiting.cancel(by=text),
    "terminate, why": lambda desk, text: desk.waiting.terminate(text),
    "retry, why": lambda desk, text: desk.parked.retry(why=text),
    "skip, which step": lambda desk, text: desk.parked.skip(text),
    "resume, why": lambda desk, text: desk.parked.resume(why=text),
    "complete, by": lambda desk, text: desk.client.complete(Desk.tokens[0], by=text),
    "fail, message": lambda desk, text: desk.client.fail(Desk.tokens[0], text),
    "pause a schedule, why": lambda desk, text: desk.client.pause_schedule("wait", text),
    "pause a schedule, by": lambda desk, text: desk.client.pause_schedule("wait", by=text),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_text_that_cannot_be_kept_is_refused_and_nothing_is_done(
    desk: Desk, act: Callable[[Desk, Any], Awaitable[object]], text: Any
) -> None:
    await desk.start()
    before = await desk.all_events()
    with pytest.raises(mg.UsageError, match=r"is not usable: a string of at most 10,000 characters"):
        await act(desk, text)
    await desk.waiting.signal(Anything, "go on")
    assert await desk.waiting.result() == "go on"
    assert (await desk.all_events())[1:] == before[1:]
    assert (await desk.client.schedules())[0].paused is None


@pytest.mark.parametrize("run_id", ["\ud800", "", 5, "a\nb"])
async def test_an_id_that_no_run_can_have_is_refused(desk: Desk, run_id: Any) -> None:
    with pytest.raises(mg.UsageError, match=r"run id .* is not usable"):
        await desk.client.get(run_id)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


NO_JSON = {
    "NaN": float("nan"),
    "NaN inside": [float("nan")],
    "infinite": float("inf"),
    "deep": deep(100_000),
    "long": 10**5_000,
}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
async def test_a_value_sent_by_name_that_is_no_json_is_refused(desk: Desk, value: Any) -> None:
    await desk.start()
    with pytest.raises(mg.PayloadError, match=r"signal anything: .* cannot be written as JSON"):
        await desk.waiting.signal("anything", value)
    with pytest.raises(mg.PayloadError, match=r"the result: .* cannot be written as JSON"):
        await desk.parked.resolve(value)
    await desk.waiting.signal("anything", 1)
    assert await desk.waiting.result() == 1
