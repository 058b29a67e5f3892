"""Engines that are broken on purpose, each in one way: what the checker has to catch.

Each function breaks the engine through ``monkeypatch``; ``BREAKAGES`` says what it breaks and by which case that shows.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from unittest import mock

import msgspec

from makegood.backend import follow, local
from makegood.definition import attempt, step
from makegood.definition.transaction import Transaction
from makegood.engine import coroutine, execution, folds, journal, operator, reactions, recording, run, signals
from makegood.failure import Failure
from makegood.store.memory import MemoryStore
from makegood.store.protocol import SealedEntry
from makegood.store.sqlite import SqliteStore
from makegood.worker import children, dispatch, live, recovery, timers, worker
from tests.faults.harness import Case, Fault

LABEL_FAILS: Any = {("do", "label"): ["fail"]}
CHARGED = Fault("write", 5, "before")  # charge took effect, its result is not recorded
RESERVED = Fault("write", 6, "before")  # charge is recorded; so is the intent to reserve
ASKED = Fault("write", 5, "acknowledged")  # the approval is pending
BOOKED = Fault("write", 4, "inside")  # in the transaction that books
CARRIED = Fault("write", 8, "unacknowledged")  # a grandchild has ended, and its parent has not heard of it
STARTED = Fault("write", 3, "acknowledged")


def trusts_any_ending(patch: Any) -> None:
    """Without the engine's own last check of an ending, which would turn most of these into a run that stands still."""
    patch.setattr(folds, "_honest", lambda _run, _event: True)


def admits(patch: Any, before: Any, happening: str, after: Any) -> None:
    """A transition of a step that the engine's table refuses."""
    original = run.RunState.move

    def move(self: Any, number: int, happened: str) -> Any:
        record = self.steps[number]
        if (record.state, happened) != (before, happening):
            return original(self, number, happened)
        record.state = after
        return record

    patch.setattr(run.RunState, "move", move)


def plans(patch: Any, change: Callable[[list[Any]], list[Any]]) -> None:
    """Another plan of what to undo; the last one is undone first."""
    trusts_any_ending(patch)
    original = recording.undo_plan
    patch.setattr(recording, "undo_plan", lambda state: change(original(state)))


def skips_an_undo(patch: Any) -> None:
    plans(patch, lambda plan: plan[1:])


def undoes_in_the_wrong_order(patch: Any) -> None:
    plans(patch, lambda plan: plan[::-1])


def undoes_twice(patch: Any) -> None:
    admits(patch, run.UNDONE, "undo", run.UNDOING)
    plans(patch, lambda plan: [*plan, *plan[-1:]])


def undoes_what_was_not_done(patch: Any) -> None:
    trusts_any_ending(patch)
    patch.setattr(recording, "undo_plan", lambda state: [s for s in state.steps.values() if s.undoable])


def ignores_unknown_outcomes(patch: Any) -> None:
    trusts_any_ending(patch)
    patch.setattr(
        run.StepRecord, "needs_undo", property(lambda record: record.undoable and record.state is run.DONE)
    )


def settles_lost_attempts_as_not_done(patch: Any) -> None:
    original = execution.Execution.attempt_failed

    def attempt_failed(self: Any, *args: Any, unknown: bool = False, **options: Any) -> None:
        original(self, *args, unknown=unknown and not options.get("lost"), **options)

    patch.setattr(execution.Execution, "attempt_failed", attempt_failed)


def calls_itself_compensated_after_an_undo_gave_up(patch: Any) -> None:
    trusts_any_ending(patch)
    patch.setattr(recording, "ending_of_rollback", lambda _state, **_: journal.RunCompensated())
    original = execution.Execution._give_up

    def give_up(self: Any, record: Any, at: float) -> None:
        if record.state is run.UNDO_EXHAUSTED:
            self._record(journal.CompensationSkipped(record.number), at)
        else:
            original(self, record, at)

    patch.setattr(execution.Execution, "_give_up", give_up)


def compensates_without_any_fault(patch: Any) -> None:
    original = execution.Execution._begin_ending

    def begin_ending(self: Any) -> None:
        self._decide(journal.RollbackStarted(Failure("", "")))
        self.program.error = None
        original(self)

    patch.setattr(execution.Execution, "_begin_ending", begin_ending)


def completes_a_cancelled_run(patch: Any) -> None:
    def forgets(self: Any, _fact: Any) -> None:
        self.state.cancel_requested = False

    patch.setitem(reactions.REACTIONS, journal.CancelRequested, forgets)


def runs_a_recorded_step_again(patch: Any) -> None:
    original = recovery.resume

    def resume(owner: Any, alive: Any, at: float, *, slept: bool) -> None:
        original(owner, alive, at, slept=slept)
        for record in alive.state.steps.values():
            if record.state is run.DONE:
                dispatch.submit(owner, alive, record, "do")

    patch.setattr(recovery, "resume", resume)


def overwrites_a_recorded_result(patch: Any) -> None:
    admits(patch, run.DONE, "completed", run.DONE)
    original = execution.Execution.recover

    def recover(self: Any, at: float, dice: float) -> None:
        for record in self.state.steps.values():
            if record.state is run.DONE:
                self._record(journal.StepCompleted(record.number, 9, msgspec.Raw(b'"another"')), at)
        original(self, at, dice)

    patch.setattr(execution.Execution, "recover", recover)


def changes_the_key_between_attempts(patch: Any) -> None:
    original = attempt.Attempt.idempotency_key.fget
    patch.setattr(
        attempt.Attempt, "idempotency_key", property(lambda self: f"{original(self)}/{self.number}")
    )


def gives_all_steps_the_same_key(patch: Any) -> None:
    patch.setattr(attempt.Attempt, "idempotency_key", property(lambda self: self.run_id))


def starts_a_step_before_its_intent_is_durable(patch: Any) -> None:
    patch.delitem(dispatch.HANDLERS, journal.StepScheduled)
    original = worker.Worker.tell

    def tell(self: Any, alive: Any, fact: Any, *details: Any) -> None:
        before = len(alive.state.steps)
        original(self, alive, fact, *details)
        for number in range(before + 1, len(alive.state.steps) + 1):
            dispatch.submit(self, alive, alive.state.steps[number], "do")

    patch.setattr(worker.Worker, "tell", tell)


def retries_without_a_record(patch: Any) -> None:
    original = worker.Worker._raised

    def raised(self: Any, job: Any, error: BaseException) -> None:
        if (
            job.kind == "do"
            and isinstance(error, Exception)
            and not job.timed_out
            and not hasattr(error, "again")
        ):
            error.again = True  # type: ignore[attr-defined]
            dispatch.submit(self, job.run, job.record, "do")
        else:
            original(self, job, error)

    patch.setattr(worker.Worker, "_raised", raised)


def acknowledges_a_start_before_the_commit(patch: Any) -> None:
    def started(self: Any, alive: Any) -> Any:
        self.runs[alive.id] = alive
        told = self.loop.create_future()
        told.set_result(True)
        return told

    patch.setattr(worker.Worker, "started", started)


def tells_the_result_before_it_is_durable(patch: Any) -> None:
    original = worker.Worker.tell

    def tell(self: Any, alive: Any, fact: Any, *details: Any) -> None:
        original(self, alive, fact, *details)
        if alive.state.status_ is not None:
            for waiter in alive.waiters:
                waiter.set_result(alive.state)
            alive.waiters.clear()

    patch.setattr(worker.Worker, "tell", tell)


def acknowledges_a_cancellation_and_forgets_it(patch: Any) -> None:
    async def request(*_: Any) -> bool:
        return False

    patch.setattr(recovery.Recovery, "request", request)


def loses_an_acknowledged_run(patch: Any) -> None:
    async def adopt(_: Any) -> None: ...

    patch.setattr(recovery.Recovery, "_adopt", adopt)


def fires_timers_early(patch: Any) -> None:
    original = timers.Alarm.__init__

    def early(self: Any, loop: Any, now: Any, due: float, callback: Any) -> None:
        original(self, loop, now, due - 0.5, callback)

    patch.setattr(timers.Alarm, "__init__", early)


def retries_early(patch: Any) -> None:
    def begin(owner: Any, alive: Any, record: Any) -> None:
        dispatch.submit(owner, alive, record, "undo" if record.state is run.UNDOING else "do")

    patch.setattr(dispatch, "_wait_for_attempt", begin)


def hands_out_falling_epochs_without_a_fence(patch: Any) -> None:
    epochs = itertools.count(9, -1)

    async def take_over(_: Any, _worker: str) -> int:
        return next(epochs)

    patch.setattr(MemoryStore, "take_over", take_over)
    patch.setattr(MemoryStore, "_check", lambda _self, _epoch: None)


def signs_with_the_epoch_of_an_older_worker(patch: Any) -> None:
    original = live.LiveRun.seal
    patch.setattr(live.LiveRun, "seal", lambda self, epoch: original(self, epoch - 1))


def journals(patch: Any, change: Callable[[list[SealedEntry]], list[SealedEntry]]) -> None:
    original = MemoryStore.journal

    async def read(self: Any, key: int) -> list[SealedEntry]:
        return change(list(await original(self, key)))

    patch.setattr(MemoryStore, "journal", read)


def loses_an_entry(patch: Any) -> None:
    journals(patch, lambda entries: entries[:1] + entries[2:])


def loses_the_last_entry(patch: Any) -> None:
    journals(patch, lambda entries: entries[:-1])


def altered(entry: SealedEntry) -> bytes:
    return entry.data.replace(b"charge", b"change")


def alters_an_entry(patch: Any) -> None:
    journals(patch, lambda entries: [SealedEntry(one.number, altered(one), one.hash) for one in entries])


def alters_an_entry_and_seals_all_anew(patch: Any) -> None:
    def change(entries: list[SealedEntry]) -> list[SealedEntry]:
        sealed, previous = [], b""
        for entry in entries:
            previous = blake2b(previous + altered(entry), digest_size=32).digest()
            sealed.append(SealedEntry(entry.number, altered(entry), previous))
        return sealed

    journals(patch, change)


def gives_a_compensation_no_result(patch: Any) -> None:
    original = step.Step.call
    patch.setattr(
        step.Step,
        "call",
        lambda self, kind, arguments, result: original(
            self, kind, arguments, None if kind == "undo" else result
        ),
    )


def forgets_an_early_completion(patch: Any) -> None:
    original = folds.FOLDS[journal.CompletionArrived]

    def arrived(state: Any, event: Any) -> None:
        if state.steps[event.step].state is not run.OPEN:
            original(state, event)

    patch.setitem(folds.FOLDS, journal.CompletionArrived, arrived)


def takes_a_pending_attempt_for_lost(patch: Any) -> None:
    original = execution.Execution.recover

    def recover(self: Any, at: float, dice: float) -> None:
        for record in self.state.steps.values():
            if record.state is run.PENDING:
                self.attempt_failed(
                    record.number, record.attempts + 1, execution.LOST, at, dice, unknown=False, lost=True
                )
        original(self, at, dice)

    patch.setattr(execution.Execution, "recover", recover)


def records_a_transactions_result_in_a_second_commit(patch: Any) -> None:
    original = SqliteStore.transact

    async def transact(self: Any, epoch: int, work: Any, timeout_seconds: Any, writes_for: Any) -> list[Any]:
        results: list[Any] = []
        await original(self, epoch, work, timeout_seconds, lambda result: results.append(result) or ())
        return await self.commit(epoch, writes_for(results[0]))

    patch.setattr(SqliteStore, "transact", transact)


def takes_a_lost_transaction_for_unknown(patch: Any) -> None:
    patch.setattr(execution.Execution, "recover", _with_unknown(execution.Execution.recover))


def _with_unknown(recover: Callable[..., None]) -> Callable[..., None]:
    def changed(self: Any, at: float, dice: float) -> None:
        with mock.patch.object(Transaction, "transacts", return_value=False):
            recover(self, at, dice)

    return changed


def signals_put(patch: Any, put: Callable[[Any, Any, Any], None]) -> None:
    original = signals.Mailbox.put
    patch.setattr(signals.Mailbox, "put", lambda self, fact: put(original, self, fact))


def loses_a_signal(patch: Any) -> None:
    signals_put(patch, lambda put, mailbox, fact: None if fact.number == 2 else put(mailbox, fact))


def delivers_a_signal_twice(patch: Any) -> None:
    def twice(put: Any, mailbox: Any, fact: Any) -> None:
        for _ in range(2 if fact.number == 2 else 1):
            put(mailbox, fact)

    signals_put(patch, twice)


def delivers_the_newest_signal_first(patch: Any) -> None:
    def newest(put: Any, mailbox: Any, fact: Any) -> None:
        put(mailbox, fact)
        mailbox.unread.reverse()

    signals_put(patch, newest)


def accepts_a_repeated_signal_again(patch: Any) -> None:
    def signal(request: Any, state: Any) -> list[Any]:
        return [journal.SignalReceived(state.signals + 1, request.name, request.result)]

    patch.setitem(operator.WHENEVER, "signal", signal)


def acknowledges_a_signal_and_forgets_it(patch: Any) -> None:
    original = recovery.Recovery.request

    async def request(self: Any, run_id: str, asked: Any, answers: Any) -> bool:
        return asked.name != "word" and await original(self, run_id, asked, answers)

    patch.setattr(recovery.Recovery, "request", request)


def forgets_to_list_what_is_left(patch: Any) -> None:
    patch.setattr(coroutine.CoroutineProgram, "unread", property(lambda _: []))


def tells_an_answer_before_it_is_durable(patch: Any) -> None:
    answers: dict[str, journal.UpdateAnswered] = {}

    def noting(original: Callable[..., None]) -> Callable[..., None]:
        def changed(self: Any, alive: Any, *args: Any) -> None:
            original(self, alive, *args)
            answers.update(
                (event.update, event)
                for event in alive.execution.events
                if isinstance(event, journal.UpdateAnswered)
            )

        return changed

    async def answer(_self: Any, _row: Any, request: Any, _after: int) -> journal.UpdateAnswered:
        while request.id not in answers:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        return answers[request.id]

    patch.setattr(worker.Worker, "tell", noting(worker.Worker.tell))
    patch.setattr(worker.Worker, "request", noting(worker.Worker.request))
    patch.setattr(follow.Follower, "answer", answer)


def handles_an_update_twice(patch: Any) -> None:
    original = folds.FOLDS[journal.UpdateAccepted]

    def accepted(state: Any, event: Any) -> None:
        if state.updates is not None:
            state.updates.pop(event.update, None)
        original(state, event)

    def accept(request: Any, _state: Any) -> list[Any]:
        return [journal.UpdateAccepted(request.id, request.name, request.result, request.by)]

    patch.setitem(folds.FOLDS, journal.UpdateAccepted, accepted)
    patch.setitem(operator.WHENEVER, "update", accept)


def shows_a_view_before_it_is_durable(patch: Any) -> None:
    async def states(self: Any, run_id: str) -> Any:
        while (alive := self.worker.runs.get(run_id)) is not None:
            yield alive.state
            await asyncio.sleep(0.001)

    patch.setattr(local.LocalBackend, "states", states)


def forgets_to_undo_a_child(patch: Any) -> None:
    async def reopen(self: Any, parent: Any, row: Any, child: Any) -> None:
        self._worker.tell(parent, parent.execution.compensation_completed, child.parent_step, 1)

    patch.setattr(children.Children, "_reopen", reopen)


def undoes_a_child_out_of_order(patch: Any) -> None:
    """All children at once, as soon as the parent is rolled back."""
    original = children.Children._compare

    def at_once(owner: Any, alive: Any, _event: Any) -> None:
        for record in alive.state.steps.values():
            if record.child:
                owner.children.look(alive.id, record.number)

    async def look(self: Any, parent_id: str, number: int) -> None:
        parent = self._worker.runs[parent_id]
        record = parent.state.steps[number]
        row = await self._worker.store.find(record.child)
        if record.state is run.DONE and parent.state.rolling_back and row.ended_at is not None:
            record = msgspec.structs.replace(record, state=run.UNDOING)
        await original(self, parent, record, row)

    patch.setitem(dispatch.HANDLERS, journal.RollbackStarted, at_once)
    patch.setattr(children.Children, "_look", look)


def goes_on_before_a_child_is_undone(patch: Any) -> None:
    original = children.Children._reopen

    async def reopen(self: Any, parent: Any, row: Any, child: Any) -> None:
        self._worker.tell(parent, parent.execution.compensation_completed, child.parent_step, 1)
        await original(self, parent, row, child)

    patch.setattr(children.Children, "_reopen", reopen)


def undoes_only_a_part_of_a_child(patch: Any) -> None:
    trusts_any_ending(patch)
    original = recording.undo_plan
    patch.setattr(recording, "undo_plan", lambda state: original(state)[1 if state.parent else 0 :])


def never_tells_a_parent(patch: Any) -> None:
    patch.setattr(children.Children, "ended", lambda _self, _child: None)


def forgets_a_child_that_ended_while_its_parent_was_down(patch: Any) -> None:
    patch.setattr(recovery, "resume", lambda *_args, **_options: None)


def abandons_a_running_child(patch: Any) -> None:
    def stopped(owner: Any, alive: Any, event: Any) -> None:
        owner.tell(alive, alive.execution.step_stopped, event.step)

    patch.setitem(dispatch.HANDLERS, journal.StepCancelled, stopped)


def begins_a_child_before_its_intent_is_durable(patch: Any) -> None:
    patch.delitem(dispatch.HANDLERS, journal.ChildScheduled)
    original = worker.Worker.tell

    def tell(self: Any, alive: Any, fact: Any, *details: Any) -> None:
        before = len(alive.state.steps)
        original(self, alive, fact, *details)
        for number in range(before + 1, len(alive.state.steps) + 1):
            if alive.state.steps[number].child:
                self.children.begin(alive, alive.state.steps[number])

    patch.setattr(worker.Worker, "tell", tell)


@dataclass(frozen=True)
class Breakage:
    breaks: Callable[[Any], None]
    invariant: str
    case: Case
    saga: str = "order"
    on_sqlite: bool = False


UNDO_FAILS: Any = {**LABEL_FAILS, ("undo", "charge"): ["fail"]}
WORDS_SENT = ("a", "b", "c", "d", "e")
SIGNALLED = Fault("write", 5, "unacknowledged")
BREAKAGES = [
    Breakage(skips_an_undo, "I1", Case(LABEL_FAILS)),
    Breakage(undoes_in_the_wrong_order, "I2", Case(LABEL_FAILS)),
    Breakage(undoes_twice, "I2", Case(LABEL_FAILS)),
    Breakage(undoes_what_was_not_done, "I2", Case(LABEL_FAILS)),
    Breakage(ignores_unknown_outcomes, "I1", Case({("do", "label"): ["lost"]})),
    Breakage(settles_lost_attempts_as_not_done, "I2", Case(LABEL_FAILS, (CHARGED,))),
    Breakage(calls_itself_compensated_after_an_undo_gave_up, "I1", Case(UNDO_FAILS)),
    Breakage(compensates_without_any_fault, "I2", Case()),
    Breakage(completes_a_cancelled_run, "I1", Case(cancel_at=("call", 2), commit_seconds=0.5)),
    Breakage(runs_a_recorded_step_again, "I3", Case({}, (RESERVED,))),
    Breakage(overwrites_a_recorded_result, "I3", Case({}, (RESERVED,))),
    Breakage(changes_the_key_between_attempts, "I4", Case({("do", "charge"): ["cut-done", "ok"]})),
    Breakage(gives_all_steps_the_same_key, "I4", Case()),
    Breakage(starts_a_step_before_its_intent_is_durable, "I5", Case()),
    Breakage(retries_without_a_record, "I5", Case({("do", "charge"): ["fail", "ok"]})),
    Breakage(hands_out_falling_epochs_without_a_fence, "I6", Case({}, (RESERVED,))),
    Breakage(signs_with_the_epoch_of_an_older_worker, "I6", Case({}, (RESERVED,))),
    Breakage(fires_timers_early, "I7", Case(), saga="sleeper"),
    Breakage(loses_a_signal, "I7", Case(signals=WORDS_SENT), saga="listener"),
    Breakage(delivers_a_signal_twice, "I7", Case(signals=WORDS_SENT), saga="listener"),
    Breakage(
        delivers_the_newest_signal_first,
        "I7",
        Case(signals=WORDS_SENT, seconds={"open": 5.0}),
        saga="listener",
    ),
    Breakage(
        accepts_a_repeated_signal_again, "I7", Case({}, (SIGNALLED,), signals=WORDS_SENT), saga="listener"
    ),
    Breakage(acknowledges_a_signal_and_forgets_it, "I7", Case(signals=WORDS_SENT), saga="listener"),
    Breakage(forgets_to_list_what_is_left, "I7", Case(signals=WORDS_SENT), saga="listener"),
    Breakage(retries_early, "I7", Case({("do", "charge"): ["fail", "ok"]})),
    Breakage(acknowledges_a_start_before_the_commit, "G3", Case(commit_seconds=0.5)),
    Breakage(tells_the_result_before_it_is_durable, "G3", Case()),
    Breakage(
        acknowledges_a_cancellation_and_forgets_it, "G3", Case(cancel_at=("call", 2), commit_seconds=0.5)
    ),
    Breakage(loses_an_acknowledged_run, "I1", Case({}, (STARTED,))),
    Breakage(loses_an_entry, "I9", Case()),
    Breakage(loses_the_last_entry, "I9", Case()),
    Breakage(alters_an_entry, "I9", Case()),
    Breakage(alters_an_entry_and_seals_all_anew, "I9", Case()),
    Breakage(gives_a_compensation_no_result, "I2", Case(LABEL_FAILS)),
    Breakage(tells_an_answer_before_it_is_durable, "G3", Case(commit_seconds=0.5), "asked"),
    Breakage(shows_a_view_before_it_is_durable, "G3", Case(commit_seconds=0.5), "asked"),
    Breakage(handles_an_update_twice, "I7", Case(), "asked"),
    Breakage(forgets_an_early_completion, "I7", Case({("do", "approve"): ["early"]}), "approval"),
    Breakage(
        takes_a_pending_attempt_for_lost, "I2", Case({("do", "approve"): ["late"]}, (ASKED,)), "approval"
    ),
    Breakage(
        records_a_transactions_result_in_a_second_commit,
        "I11",
        Case({}, (BOOKED,)),
        "booking",
        on_sqlite=True,
    ),
    Breakage(forgets_to_undo_a_child, "I1", Case(LABEL_FAILS), "parcel"),
    Breakage(undoes_a_child_out_of_order, "I2", Case(LABEL_FAILS), "parcel"),
    Breakage(undoes_in_the_wrong_order, "I2", Case(LABEL_FAILS), "parcel"),
    Breakage(goes_on_before_a_child_is_undone, "I1", Case(LABEL_FAILS), "parcel"),
    Breakage(undoes_only_a_part_of_a_child, "I1", Case(LABEL_FAILS), "parcel"),
    Breakage(never_tells_a_parent, "I1", Case(), "parcel"),
    Breakage(forgets_a_child_that_ended_while_its_parent_was_down, "I1", Case({}, (CARRIED,)), "parcel"),
    Breakage(abandons_a_running_child, "I1", Case({("do", "sail"): ["lost"]}), "fleet"),
    Breakage(begins_a_child_before_its_intent_is_durable, "I5", Case(commit_seconds=0.5), "parcel"),
    Breakage(takes_a_lost_transaction_for_unknown, "I2", Case({}, (BOOKED,)), "booking", on_sqlite=True),
]
