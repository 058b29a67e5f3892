"""What may be seen of a run: what its workflow published, and its steps by name."""

import msgspec
import pytest

import makegood as mg
from makegood.engine.views import VIEW_LIMIT_BYTES, view_of
from tests.engine.kit import fresh_execution, replayed
from tests.engine.shop import charge, email, reserve, ship

PLAN = ["charge", "reserve", "ship"]


def view(run):
    return view_of(run.state)


@mg.workflow
async def silent() -> None:
    await charge()
    await reserve()


@mg.workflow
async def planned() -> None:
    mg.update_view(status="new", steps_pending=PLAN)
    await charge()
    mg.update_view(status="paid", eta_minutes=12)
    await reserve()
    await ship()


def test_a_run_that_publishes_nothing_shows_its_status_and_its_steps(start):
    run = start(silent)
    assert view(run) == {"status": "RUNNING", "steps_completed": [], "steps_pending": ["charge"]}
    run.complete("charge", "paid")
    assert view(run) == {"status": "RUNNING", "steps_completed": ["charge"], "steps_pending": ["reserve"]}
    run.complete("reserve", "held")
    assert view(run) == {"status": "COMPLETED", "steps_completed": ["charge", "reserve"], "steps_pending": []}


def test_fields_are_added_to_those_before(start):
    run = start(planned)
    assert view(run) == {"status": "new", "steps_completed": [], "steps_pending": PLAN}
    run.complete("charge", "paid")
    assert view(run) == {
        "status": "paid",
        "eta_minutes": 12,
        "steps_completed": ["charge"],
        "steps_pending": ["reserve", "ship"],
    }


def test_no_argument_and_no_result_of_a_step_is_shown(start):
    run = start(silent)
    run.complete("charge", "card 4242")
    assert "4242" not in str(view(run))


def test_a_step_that_is_planned_again_after_it_was_done_is_pending(start):
    @mg.workflow
    async def twice() -> None:
        for _ in range(2):
            mg.update_view(steps_pending=["charge"])
            await charge()

    run = start(twice)
    run.complete("charge", "paid")
    assert view(run) == {"status": "RUNNING", "steps_completed": ["charge"], "steps_pending": ["charge"]}
    run.complete("charge", "paid")
    assert view(run)["steps_pending"] == []


def test_a_step_that_is_planned_twice_is_pending_once_more_after_it_was_done_once(start):
    @mg.workflow
    async def twice() -> None:
        mg.update_view(steps_pending=["charge", "charge"])
        await charge()
        await charge()

    run = start(twice)
    run.complete("charge", "paid")
    assert view(run)["steps_pending"] == ["charge"]


def test_a_step_under_way_when_the_plan_is_published_drops_out_of_it(start):
    @mg.workflow
    async def together() -> None:
        call = charge()
        mg.update_view(steps_pending=["charge", "ship"])
        await call
        await ship()

    run = start(together)
    run.complete("charge", "paid")
    assert view(run)["steps_pending"] == ["ship"]


def test_a_rollback_leaves_nothing_pending_and_takes_back_what_was_completed(start):
    run = start(planned)
    run.complete("charge", "paid")
    run.fail_for_good("reserve")
    assert (view(run)["steps_completed"], view(run)["steps_pending"]) == ([], [])


def test_a_workflow_publishes_while_it_fails(start):
    @mg.workflow
    async def honest() -> None:
        try:
            await charge()
        except mg.StepFailed as error:
            mg.update_view(status="declined", reason=error.failure.message)
            raise

    run = start(honest)
    run.fail_for_good("charge", "no credit")
    assert run.status == "FAILED"
    assert view(run) == {
        "status": "declined",
        "reason": "no credit",
        "steps_completed": [],
        "steps_pending": [],
    }


def test_a_workflow_publishes_while_it_is_cancelled(start):
    @mg.workflow
    async def tidy() -> None:
        try:
            await charge()
        finally:
            mg.update_view(status="over")

    run = start(tidy)
    run.cancel()
    run.cut_off("charge")
    run.undo("charge")
    assert (run.status, view(run)["status"]) == ("CANCELLED", "over")


def test_a_best_effort_step_that_failed_is_not_completed(start):
    @mg.workflow
    async def kind() -> None:
        await email()

    run = start(kind)
    run.fail_for_good("email")
    assert view(run)["steps_completed"] == []


def test_models_are_shown_as_their_json(start):
    class Place(msgspec.Struct):
        lat: float
        lng: float

    @mg.workflow
    async def moving() -> None:
        mg.update_view(location=Place(52.5, 13.4))
        await charge()

    assert view(start(moving))["location"] == {"lat": 52.5, "lng": 13.4}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"eta": float("nan")}, mg.PayloadError, "field 'eta' of the view"),
        ({"eta": object()}, mg.PayloadError, "field 'eta' of the view"),
        ({"name": "\ud800"}, mg.PayloadError, "field 'name' of the view"),
        ({"\ud800": 1}, mg.PayloadError, "names of the view's fields"),
        ({"blob": "x" * VIEW_LIMIT_BYTES}, mg.PayloadError, "its largest field is 'blob'"),
        ({"status": 5}, mg.UsageError, "the status is a text"),
        ({"steps_pending": "ship"}, mg.UsageError, "a list of names"),
        ({"steps_completed": [1]}, mg.UsageError, "a list of names"),
    ],
    ids=lambda value: next(iter(value)).encode("unicode_escape").decode() if isinstance(value, dict) else "",
)
def test_what_cannot_be_shown_is_refused_and_nothing_is_published(start, fields, error, message):
    @mg.workflow
    async def wrong() -> str:
        mg.update_view(status="before")
        try:
            mg.update_view(good="yes", **fields)
        except mg.MakegoodError as refused:
            return f"{type(refused).__name__}: {refused}"
        return "accepted"

    run = start(wrong)
    said = msgspec.json.decode(run.state.result)
    assert said.startswith(error.__name__)
    assert message in said
    assert view(run) == {"status": "before", "steps_completed": [], "steps_pending": []}


def test_the_limit_holds_for_all_fields_together(start):
    @mg.workflow
    async def growing() -> None:
        for number in range(100):
            mg.update_view(**{f"field_{number}": "x" * 1_000})

    run = start(growing)
    assert run.status == "FAILED"
    assert "the limit is 65,536" in run.state.failure.message


def test_nothing_is_recorded_where_nothing_is_published(start):
    @mg.workflow
    async def empty() -> None:
        mg.update_view()

    assert start(empty).began == ["STARTED", "COMPLETED"]


def test_publishing_outside_a_workflow_is_refused():
    with pytest.raises(mg.OutsideWorkflow, match="update_view"):
        mg.update_view(status="lost")


# ---- changed code ----------------------------------------------------------------------------------------------------


def publishing(*statuses: str) -> mg.Workflow[[], None]:
    """A workflow that publishes one text before each of two steps, and one after them; "" for nothing."""

    @mg.workflow(name="publishing")
    async def workflow() -> None:
        for status, step in zip(statuses, (charge, reserve, None), strict=True):
            if status:
                mg.update_view(**{status: 1})
            if step is not None:
                await step()

    return workflow


@pytest.mark.parametrize(
    "today",
    [("", "b", "c"), ("a", "", "c"), ("x", "y", "c"), ("", "", "c")],
    ids=["less at first", "less later", "otherwise", "nothing so far"],
)
def test_what_was_published_stands_whatever_the_code_publishes_today(start, today):
    run = start(publishing("a", "b", "c"))
    run.complete("charge", "paid")
    relived = replayed(publishing(*today), run.entries)
    assert not relived.events
    assert set(view_of(relived.state)) == {"status", "steps_completed", "steps_pending", "a", "b"}
    relived.program.close()


def test_what_the_code_publishes_more_today_is_published_from_now_on(start):
    run = start(publishing("", "", ""))
    run.complete("charge", "paid")
    relived = replayed(publishing("a", "b", "c"), run.entries)
    relived.step_completed(2, 1, msgspec.Raw(b'"held"'), run.now)
    assert {"a", "b", "c"} & set(view_of(relived.state)) >= {"c"}
    relived.program.close()


def test_what_is_published_before_the_first_entry_was_driven_is_not_lost():
    """A client process writes only that the run was started; the worker finds the rest by replaying that."""
    from makegood.engine import journal

    workflow = publishing("a", "", "")
    entry = journal.Entry(1.0, 0, [journal.RunStarted("run-1", "publishing", msgspec.Raw(b"[]"))])
    execution = fresh_execution(workflow)
    execution.replay([entry])
    assert [type(event).__name__ for event in execution.events] == ["ViewUpdated", "StepScheduled"]
    assert view_of(execution.state)["a"] == 1
    execution.program.close()
