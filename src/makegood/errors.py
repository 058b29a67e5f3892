"""The one exception tree. Every error says what happened, where, and what to do.

MakegoodError
├── DefinitionError           a step or workflow is declared wrongly (raised while importing or registering)
├── UsageError                makegood is called wrongly
│   ├── OutsideWorkflow       a step was called where no workflow runs
│   ├── NotInStep             a step-only function was called elsewhere
│   ├── NotDurable            a workflow awaits something that a restart would lose (threads, sockets, a future of its own)
│   ├── PayloadError          a value does not survive the way through JSON, or is too large
│   ├── RunConflict           the id is taken by a run of another workflow or input
│   ├── RunNotFound           no run has this id
│   │   └── RunPruned         it ran and ended long ago, and was pruned
│   ├── ScheduleNotFound      no schedule has this name
│   ├── UnknownWorkflow       this engine was not given the workflow
│   ├── NotPossible           the action does not fit the state of the run
│   └── UpdateRejected        the workflow refused an update; nothing was recorded
├── StepFailed                inside a workflow: a step gave up
│   └── ChildFailed           a child run ended otherwise than COMPLETED, or could not be started
├── UpdateFailed              outside: an accepted update was answered with an error
├── RunError                  outside: a run ended otherwise than COMPLETED
│   └── RunFailed, RunCompensated, RunCancelled, RunTerminated
├── DeterminismError          the code no longer does what the journal recorded
└── StoreError                the store is unusable
    └── NoWorker, StoreLocked, StoreFenced, StoreFull, StoreReadOnly, SchemaTooNew, JournalCorrupt
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from makegood.failure import Failure


class MakegoodError(Exception):
    """Everything that makegood raises on purpose."""


class DefinitionError(MakegoodError):
    """A step or workflow is declared in a way that cannot work."""


class UsageError(MakegoodError):
    """makegood was called in a way that cannot work."""


class OutsideWorkflow(UsageError):
    """A step or a workflow function was called where no workflow runs."""


class NotInStep(UsageError):
    """A function that belongs inside a step was called elsewhere."""


class NotDurable(UsageError):
    """A workflow awaits something that would be lost in a crash: it belongs in a step."""


class PayloadError(UsageError):
    """A value cannot be stored as JSON and read back as the same value, or is too large."""


class RunConflict(UsageError):
    """The run id is already taken by another workflow or another input."""


class RunNotFound(UsageError):
    """No run has this id."""


class RunPruned(RunNotFound):
    """The run ended, and was pruned: nothing but a tombstone is left. Its id does not run again.

    Attributes:
        run_id: the run.
        status: how it ended.
        ended_at, pruned_at: when; seconds since 1970.
    """

    def __init__(self, run_id: str, status: str, ended_at: float, pruned_at: float) -> None:
        super().__init__(
            f"run {run_id} has run: it ended {status} on {_day(ended_at)}, and was pruned on {_day(pruned_at)}. "
            "Only its tombstone is left, which keeps it from running again. For another run use another id."
        )
        self.run_id = run_id
        self.status = status
        self.ended_at = ended_at
        self.pruned_at = pruned_at


class ScheduleNotFound(UsageError):
    """No schedule has this name."""


class UnknownWorkflow(UsageError):
    """The workflow was not given to this engine."""


class NotPossible(UsageError):
    """The action does not fit the state that the run is in; nothing was changed."""


class StillMissed(UsageError):
    """A best-effort step was tried again, and failed again; that is recorded."""


class UpdateRejected(UsageError):
    """The workflow's validator rejected an update; nothing was recorded.

    Attributes:
        run_id: the run.
        update: the update's name.
        reason: what the validator raised.
    """

    def __init__(self, run_id: str, update: str, reason: str) -> None:
        super().__init__(f"run {run_id} rejects update {update}: {reason}")
        self.run_id = run_id
        self.update = update
        self.reason = reason


class UpdateFailed(MakegoodError):
    """An update was accepted, and its handler raised, or the workflow ended before the handler did. The run goes on.

    Attributes:
        run_id: the run.
        update: the update's name.
        failure: what was raised, as recorded.
    """

    def __init__(self, run_id: str, update: str, failure: Failure) -> None:
        super().__init__(f"run {run_id}: update {update} failed: {failure}")
        self.run_id = run_id
        self.update = update
        self.failure = failure


class StepFailed(MakegoodError):
    """A step gave up: raised inside the workflow, at its ``await``.

    Attributes:
        step: the step's name.
        failure: the last attempt's error, as recorded in the journal.
        unknown: True if nobody knows whether the step took effect.
        attempts: how many attempts were made.
    """

    def __init__(self, step: str, failure: Failure, *, unknown: bool, attempts: int) -> None:
        doubt = "; whether it took effect is unknown" if unknown else ""
        super().__init__(f"step {step} failed after {attempts} attempt(s): {failure}{doubt}")
        self.step = step
        self.failure = failure
        self.unknown = unknown
        self.attempts = attempts

    def was(self, *types: type[BaseException]) -> bool:
        """Whether the step's own exception was one of these types (compared by name; subclasses do not count)."""
        return any(self.failure.is_a(type_) for type_ in types)


class ChildFailed(StepFailed):
    """A child run ended otherwise than COMPLETED: raised inside its parent, at the ``await``.

    What it had done is undone already, except for its residue.

    Attributes:
        step: the child's workflow.
        child: the child's run id.
        status: FAILED, COMPENSATED, CANCELLED or TERMINATED; "" if it could not be started.
        failure: the cause, as the child recorded it.
        residue: names of the child's steps whose effects stay open.
    """

    def __init__(
        self, step: str, failure: Failure, *, child: str, status: str, residue: Sequence[str] = ()
    ) -> None:
        super().__init__(step, failure, unknown=False, attempts=1)
        how = f"ended {status}" if status else "could not be started"
        left = f"; left open: {', '.join(residue)}" if residue else ""
        self.args = (f"child run {child} of workflow {step} {how}: {failure}{left}",)
        self.child = child
        self.status = status
        self.residue = tuple(residue)


class RunError(MakegoodError):
    """A run ended otherwise than COMPLETED.

    Attributes:
        run_id: the run.
        step: name of the step that failed, if one did.
        failure: the cause, as recorded.
        undone: names of the steps that were compensated, in the order in which that happened.
        residue: names of the steps whose effects stay open.
    """

    def __init__(
        self,
        run_id: str,
        failure: Failure | None,
        *,
        step: str | None = None,
        undone: Sequence[str] = (),
        residue: Sequence[str] = (),
    ) -> None:
        ending = type(self).__name__.removeprefix("Run").lower()
        cause = f": {failure}" if failure else ""
        made_good = f"; undone: {', '.join(undone)}" if undone else ""
        left = f"; left open: {', '.join(residue)}" if residue else ""
        super().__init__(f"run {run_id} {ending}{cause}{made_good}{left}")
        self.run_id = run_id
        self.step = step
        self.failure = failure
        self.undone = tuple(undone)
        self.residue = tuple(residue)


class RunFailed(RunError):
    """The run failed and had nothing to undo."""


class RunCompensated(RunError):
    """The run failed and everything that it had done was undone."""


class RunCancelled(RunError):
    """The run was cancelled and everything that it had done was undone."""


class RunTerminated(RunError):
    """An operator ended the run; what stays open is its residue."""


class DeterminismError(MakegoodError):
    """Replaying the journal, the workflow's code decided otherwise than it did before."""


class StoreError(MakegoodError):
    """The store cannot be used."""


class NoWorker(StoreError):
    """No worker has answered a request in time; it is stored, and the next worker carries it out."""


class StoreLocked(StoreError):
    """Another connection holds the database's write lock for too long."""


class StoreFenced(StoreError):
    """Another worker has taken over: this one may no longer write."""


class StoreFull(StoreError):
    """The disk is full."""


class StoreReadOnly(StoreError):
    """The database file or its folder cannot be written."""


class SchemaTooNew(StoreError):
    """A newer makegood has written this database."""


class JournalCorrupt(StoreError):
    """A journal was altered or damaged: its entries no longer match their hashes."""


def not_found(run_id: str) -> RunNotFound:
    """The error for an id that no run has."""
    return RunNotFound(f"there is no run {run_id} in this store. `makegood list` shows those that are.")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
