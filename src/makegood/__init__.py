"""makegood: durable sagas and workflows for Python."""

from makegood.client import Engine, RunHandle
from makegood.definition.attempt import attempt, completion_token, idempotency_key, original_key
from makegood.definition.child import Child, start_child
from makegood.definition.completion import PENDING, Pending
from makegood.definition.retry import Retry
from makegood.definition.saga import on_rollback, pivot, saga
from makegood.definition.schedule import Schedule
from makegood.definition.signal import Signal
from makegood.definition.sleep import DAY, HOUR, MINUTE, WEEK, sleep, sleep_until
from makegood.definition.step import NotDone, Step, step
from makegood.definition.transaction import Connection, Transaction, transaction
from makegood.definition.update import Update
from makegood.definition.values import now, random, uuid4
from makegood.definition.versions import continue_as_new, patched
from makegood.definition.view import update_view
from makegood.definition.workflow import Workflow, workflow
from makegood.errors import (
    ChildFailed,
    DefinitionError,
    DeterminismError,
    JournalCorrupt,
    MakegoodError,
    NotDurable,
    NotInStep,
    NotPossible,
    NoWorker,
    OutsideWorkflow,
    PayloadError,
    RunCancelled,
    RunCompensated,
    RunConflict,
    RunError,
    RunFailed,
    RunNotFound,
    RunTerminated,
    ScheduleNotFound,
    SchemaTooNew,
    StepFailed,
    StoreError,
    StoreFenced,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    UnknownWorkflow,
    UpdateFailed,
    UpdateRejected,
    UsageError,
)
from makegood.failure import Failure

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "PENDING",
    "WEEK",
    "Child",
    "ChildFailed",
    "Connection",
    "DefinitionError",
    "DeterminismError",
    "Engine",
    "Failure",
    "JournalCorrupt",
    "MakegoodError",
    "NoWorker",
    "NotDone",
    "NotDurable",
    "NotInStep",
    "NotPossible",
    "OutsideWorkflow",
    "PayloadError",
    "Pending",
    "Retry",
    "RunCancelled",
    "RunCompensated",
    "RunConflict",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunNotFound",
    "RunTerminated",
    "Schedule",
    "ScheduleNotFound",
    "SchemaTooNew",
    "Signal",
    "Step",
    "StepFailed",
    "StoreError",
    "StoreFenced",
    "StoreFull",
    "StoreLocked",
    "StoreReadOnly",
    "Transaction",
    "UnknownWorkflow",
    "Update",
    "UpdateFailed",
    "UpdateRejected",
    "UsageError",
    "Workflow",
    "attempt",
    "completion_token",
    "continue_as_new",
    "idempotency_key",
    "now",
    "on_rollback",
    "original_key",
    "patched",
    "pivot",
    "random",
    "saga",
    "sleep",
    "sleep_until",
    "start_child",
    "step",
    "transaction",
    "update_view",
    "uuid4",
    "workflow",
]
