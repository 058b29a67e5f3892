"""The offline judge: clients' log, participants' effects and the journal against the invariants of a saga.

It asks no engine for its opinion and shares no code with it; ``Terms`` are what the saga's author promised.

I1  honest endings, nothing acknowledged is lost    I5  intent before effect, result before the successor
I2  compensations: why, which, once, in order       I6  epochs never go down
I3  a recorded result stands, its step never starts I7  timers fire once, never early; no retry comes early;
                                                    signals are taken once, in order, or still there
I4  keys: stable, distinct                          I8  a replay decides the same
I11 a transaction happens once, with its record
I12 nothing begins while a run is paused
G3  nobody is told before it is durable             I9  the journal: no gap, chained, what was acknowledged
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b

from tests.faults.evidence import Called, Committed, Dumped, Evidence
from tests.faults.families import families, is_held_up_by_a_child
from tests.faults.pauses import check_pauses
from tests.faults.public import told_of
from tests.faults.sagas import Terms
from tests.faults.signals import check_signals
from tests.faults.story import Fact, StepStory, Story, Violation, line_of

STATUS_OF = {
    "RunCompleted": "COMPLETED",
    "RunFailed": "FAILED",
    "RunCompensated": "COMPENSATED",
    "RunCancelled": "CANCELLED",
    "RunTerminated": "TERMINATED",
}


def check(evidence: Evidence, terms: Terms) -> list[Violation]:
    """Everything that is wrong with a fault run."""
    commits: dict[str, dict[int, Committed]] = defaultdict(dict)
    for commit in evidence.commits:
        commits[commit.run_id][commit.number] = commit
    calls: dict[str, list[Called]] = defaultdict(list)
    for call in evidence.calls:
        calls[call.run_id].append(call)
    stories: dict[str, Story] = {}
    standing: dict[str, Counter[str]] = {}
    violations = [*_journals(evidence), *_epochs(evidence), *_keys(evidence)]
    for dumped in evidence.dump:
        story = Story(dumped, commits[dumped.run_id], terms)
        stories[dumped.run_id] = story
        violations += story.violations
        violations += _starts(story, calls[dumped.run_id], terms)
        booked = Counter((row.step, row.direction) for row in evidence.ledger if row.run_id == dumped.run_id)
        violations += _ledger(story, booked, terms)
        standing[dumped.run_id] = _standing(calls[dumped.run_id], booked)
        said = [one for one in evidence.said if one.run_id == dumped.run_id]
        violations += check_signals(story, calls[dumped.run_id], said, terms)
        violations += check_pauses(said, calls[dumped.run_id], commits[dumped.run_id].values())
    for story in stories.values():
        violations += _ending(story, standing[story.run_id], terms, stories)
    for run_id in calls.keys() - stories.keys():
        violations.append(Violation("I5", run_id, "effects of a run that is in no journal"))
    violations += _clients(evidence, stories, commits)
    violations += told_of(evidence, stories)
    violations += families(stories, calls, terms)
    return violations


# ---- the journal as such ---------------------------------------------------------------------------------------------


def _journals(evidence: Evidence) -> Iterator[Violation]:
    for run in evidence.dump:
        yield from _chain(run)
    yield from _in_doubt(evidence)
    written = {(commit.run_id, commit.number): commit.data for commit in evidence.commits}
    stored = {(run.run_id, number): data for run in evidence.dump for number, data, _ in run.entries}
    for (run_id, number), data in written.items():
        if (run_id, number) not in stored:
            yield Violation("I9", run_id, f"entry {number} was durable and is gone")
        elif stored[run_id, number] != data:
            yield Violation("I9", run_id, f"entry {number} is no longer what was written")
    for run_id, number in stored.keys() - written.keys():
        yield Violation("I9", run_id, f"nobody wrote entry {number}")


def _in_doubt(evidence: Evidence) -> Iterator[Violation]:
    written = Counter((commit.run_id, commit.number) for commit in evidence.commits)
    for (run_id, number), times in written.items():
        if times > 1:
            yield Violation("I9", run_id, f"entry {number} was written {times} times")
    doubted = Counter((c.run_id, c.process) for c in evidence.commits if not c.acknowledged)
    for (run_id, process), times in doubted.items():
        if times > 1:
            yield Violation("I9", run_id, f"process {process} left {times} entries in doubt")


def _chain(run: Dumped) -> Iterator[Violation]:
    previous = b""
    for expected, (number, data, digest) in enumerate(run.entries, start=1):
        if number != expected:
            yield Violation("I9", run.run_id, f"entry {expected} is missing")
            return
        if blake2b(previous + data, digest_size=32).digest() != digest:
            yield Violation("I9", run.run_id, f"entry {number} does not match its hash")
        previous = digest


def _epochs(evidence: Evidence) -> Iterator[Violation]:
    highest = 0
    for commit in evidence.commits:
        if commit.epoch < highest:
            yield Violation(
                "I6",
                commit.run_id,
                f"entry {commit.number} of epoch {commit.epoch} is accepted after {highest}",
            )
        highest = max(highest, commit.epoch)
        if f'"epoch":{commit.epoch}' not in commit.data[:200].decode(errors="replace"):
            yield Violation(
                "I6", commit.run_id, f"entry {commit.number} claims another epoch than {commit.epoch}"
            )


# ---- the participants' view ------------------------------------------------------------------------------------------


def _keys(evidence: Evidence) -> Iterator[Violation]:
    key_of: dict[tuple[str, str, str], str] = {}
    user_of: dict[str, tuple[str, str, str]] = {}
    for call in evidence.calls:
        making = call.key.rpartition("/undo")[2] if call.direction == "undo" else ""
        user = (call.run_id, call.step, f"undo{making}" if call.direction == "undo" else "do")
        if key_of.setdefault(user, call.key) != call.key and _has_other_arguments(evidence, call):
            key_of[user] = call.key
        elif key_of[user] != call.key:
            yield Violation(
                "I4", call.run_id, f"{call.direction} {call.step}: {key_of[user]} became {call.key}"
            )
        elif user_of.setdefault(call.key, user) != user:
            other = " ".join(user_of[call.key])
            yield Violation("I4", call.run_id, f"{call.direction} {call.step} shares {call.key} with {other}")


def _has_other_arguments(evidence: Evidence, call: Called) -> bool:
    """Whether an operator has had the step tried with other arguments, as the revision at the end of its key says."""
    revision = call.key.rpartition("/")[2]
    retries = sum(
        commit.data.count(b'"action":"retry"')
        for commit in evidence.commits
        if commit.run_id == call.run_id and commit.ticket < call.ticket and b',"other"]' in commit.data
    )
    return revision.isdigit() and int(revision) == 1 + retries


def _starts(story: Story, calls: list[Called], terms: Terms) -> Iterator[Violation]:
    made: Counter[tuple[str, str]] = Counter()
    undo_effects: dict[tuple[str, int], StepStory] = {}
    for call in calls:
        step = story.steps.get(call.step)
        if step is None:
            yield Violation("I5", call.run_id, f"{call.direction} {call.step} without any intent")
            continue
        if story.ending is not None and 0 < story.ending.ticket < call.ticket:
            yield Violation("I3", call.run_id, f"{call.direction} {call.step} after the ending")
        if call.direction == "probe":
            continue
        made[call.step, call.direction] += 1
        yield from _start(call, step, made[call.step, call.direction])
        if call.direction == "do":
            yield from _predecessors(call, story, terms)
        elif call.effect == "first":
            again = making_of(call) > 1
            if making_of(call) > 1 + step.rounds:
                yield Violation("I4", call.run_id, f"{call.step} is undone under {call.key} without need")
            last = None if again else undo_effects.get(line_of(story, step))
            if last is not None and last.number < step.number:
                yield Violation("I2", call.run_id, f"{call.step} was undone after {last.name}")
            if not again:
                undo_effects[line_of(story, step)] = step


def making_of(call: Called) -> int:
    """Which making of a compensation its key tells of: the first, or again."""
    making = call.key.rpartition("/undo/")[2]
    return int(making) if making.isdigit() else 1


def _start(call: Called, step: StepStory, number: int) -> Iterator[Violation]:
    what = f"call {number} of {call.direction} {call.step}"
    intents = [(ticket, due) for ticket, due in step.intents[call.direction] if 0 < ticket < call.ticket]
    if number > len(intents):
        yield Violation("I5", call.run_id, f"{what} with {len(intents)} durable intents")
    elif call.at < intents[-1][1]:
        yield Violation("I7", call.run_id, f"{what} comes {intents[-1][1] - call.at:g} s early")
    reported = [details for ticket, details in step.heartbeats[call.direction] if 0 < ticket < call.ticket]
    if reported and call.heartbeat_given != reported[-1]:
        yield Violation(
            "I3", call.run_id, f"{what} is given heartbeat {call.heartbeat_given}, recorded is {reported[-1]}"
        )
    if call.direction == "do":
        if 0 < step.settled < call.ticket:
            yield Violation("I3", call.run_id, f"{what} after its outcome was recorded")
        if 0 < step.undo_scheduled < call.ticket:
            yield Violation("I2", call.run_id, f"{what} after its compensation was scheduled")
    else:
        if 0 < step.undone < call.ticket:
            yield Violation("I3", call.run_id, f"{what} after it was recorded as undone")
        if call.result_given != step.result and call.result_given not in step.late_results:
            yield Violation(
                "I2", call.run_id, f"{what} is given {call.result_given!r}, recorded is {step.result!r}"
            )


def _predecessors(call: Called, story: Story, terms: Terms) -> Iterator[Violation]:
    for name in terms.predecessors.get(call.step, frozenset()):
        before = story.steps.get(name)
        if before is None or not 0 < before.settled < call.ticket:
            yield Violation("I5", call.run_id, f"{call.step} starts before the outcome of {name} is durable")


def _ledger(story: Story, booked: Counter[tuple[str, str]], terms: Terms) -> Iterator[Violation]:
    """A transaction's row is there exactly when its journal says so."""
    for name in sorted(terms.transactions & story.steps.keys()):
        step = story.steps[name]
        if step.by_operator:
            continue
        told = {"do": bool(step.done)}
        if booked[name, "undo"]:
            told["undo"] = bool(step.undone)
        for direction, recorded in told.items():
            if booked[name, direction] != recorded:
                yield Violation(
                    "I11",
                    story.run_id,
                    f"{booked[name, direction]} rows of {direction} {name}; recorded as done: {recorded}",
                )


def _standing(calls: list[Called], booked: Counter[tuple[str, str]]) -> Counter[str]:
    """How many effects of each step stand: done under different keys, and not undone since."""
    standing: Counter[str] = Counter()
    for (step, direction), rows in booked.items():
        standing[step] += rows if direction == "do" else -rows
    for call in sorted(calls, key=lambda call: call.effect_ticket):
        if call.direction == "do" and call.effect == "first":
            standing[call.step] += 1
        elif (
            call.direction == "undo" and call.effect == "first"
        ):  # a repetition undoes nothing that came since
            standing[call.step] = 0
    return standing


# ---- endings ---------------------------------------------------------------------------------------------------------


def _ending(
    story: Story, standing: Counter[str], terms: Terms, stories: dict[str, Story]
) -> Iterator[Violation]:
    def wrong(message: str) -> Violation:
        return Violation("I1", story.run_id, message)

    if story.ending is None:
        if not story.parked and not is_held_up_by_a_child(story, stories):
            yield wrong(f"it stands at {story.status}: neither ended nor parked")
        elif story.parked and (story.status != "PARKED" or story.ended_at is not None):
            yield wrong(f"it is parked, but listed as {story.status}")
        return
    status = STATUS_OF[story.ending.event["event"]]
    yield from map(wrong, _kept(story))
    yield from map(wrong, _unsettled(story))
    yield from map(wrong, _mislisted(story, status))
    if story.terminated == "at once":
        yield from map(wrong, _concealed(story, standing))
        return
    for step in story.steps.values():
        if not step.settled:
            yield wrong(f"it ended {status} while step {step.name} was open")
        as_declared = (step.name in terms.undoable, step.name not in terms.best_effort)
        if (step.undoable, step.critical) != as_declared:
            yield wrong(f"step {step.name} is not recorded as its author declared it")
        yield from _stands(story, step, status, standing[step.name])
    yield from map(wrong, _misnamed(story, status))
    if status == "COMPLETED":
        yield from map(wrong, _not_rolled_back(story, terms))


def _kept(story: Story) -> Iterator[str]:
    """Steps that an operator's rollback leaves as they are: nobody undoes them, and they are listed as left open."""
    for step in story.steps.values():
        if step.number <= story.kept and step.may_stand and not step.undone:
            step.undo_skipped = story.ending.ticket
            if step.undo_scheduled > story.termination_asked:
                yield f"step {step.name} was to be kept, and its undo was begun"


def _unsettled(story: Story) -> Iterator[str]:
    """Attempts that went on after they were given up on, and what they did late."""
    for step in story.steps.values():
        if step.undoable and step.given_up and story.terminated != "at once":
            yield f"how attempts {step.given_up} of step {step.name} ended was never recorded"
        if step.undo_due and story.terminated != "at once":
            yield f"what step {step.name} did late was never undone again"


def _not_rolled_back(story: Story, terms: Terms) -> Iterator[str]:
    """Nested sagas in which a step failed and nothing was undone."""
    for number in terms.inside.keys() - story.sagas_rolled_back:
        inside = [story.steps[name] for name in terms.inside[number] if name in story.steps]
        failed = [step.name for step in inside if step.failed and step.critical and not step.cancelled]
        if failed:
            yield f"saga {number} was not rolled back although {', '.join(failed)} failed in it"


def _mislisted(story: Story, status: str) -> Iterator[str]:
    if story.status != status or story.ended_at is None:
        yield f"it ended {status}, but is listed as {story.status}"
    if story.parked:
        yield f"it ended {status} while parked"
    if story.terminated and status != "TERMINATED":
        yield f"it ended {status} although it was terminated"


def _concealed(story: Story, standing: Counter[str]) -> Iterator[str]:
    """What a run that was terminated at once does not tell of."""
    residue = story.ending.event.get("residue", ())
    for step in story.steps.values():
        listed = any(name.split("/")[0] == step.name for name in residue)
        late = bool(step.late_results)  # which the journal tells of behind its ending
        if standing[step.name] and step.undoable and not (listed or late or step.by_operator):
            yield f"the effect of {step.name} stands, and is not listed as left open"
        if step.undone and listed and not step.undo_due:
            yield f"{step.name} was undone, and is listed as left open"


def _misnamed(story: Story, status: str) -> Iterator[str]:
    """What contradicts the name of the ending."""
    skipped = sorted(
        name
        for step in story.steps.values()
        if step.undo_skipped or step.left_open
        for name in ([f"{step.name}/{inner}" for inner in step.left_open] or [step.name])
    )
    earlier = max(story.leg_ends, default=0)
    undone = [step.name for step in story.steps.values() if step.undone and step.number > earlier]
    if story.rollback and skipped and sorted(story.ending.event.get("residue", ())) != skipped:
        yield f"it ended {status} although the effects of {', '.join(skipped)} were left open"
    if status == "COMPENSATED" and not undone:
        yield "it ended COMPENSATED and nothing was undone"
    if status == "FAILED" and undone:
        yield f"it ended FAILED although {', '.join(undone)} were undone"
    if (status == "COMPLETED") == bool(story.rollback):
        yield f"it ended {status} {'after' if story.rollback else 'without'} a rollback"
    if status == "CANCELLED" and not story.cancel_requested:
        yield "it ended CANCELLED and nobody had asked for it"
    if status == "COMPLETED" and story.cancel_requested:
        yield "it ended COMPLETED although it was cancelled before"


def _stands(story: Story, step: StepStory, status: str, effects: int) -> Iterator[Violation]:
    """Whether what stands of a step fits the ending."""
    expected_to_stand = status == "COMPLETED" and step.done and not (step.cancelled or step.saga)
    if expected_to_stand:
        if not step.registered and effects != 1 and not (step.by_operator or step.child):
            yield Violation(
                "I1", story.run_id, f"it ended {status}, and {effects} effects of {step.name} stand"
            )
        if step.undo_scheduled:
            yield Violation("I2", story.run_id, f"it ended {status}, and {step.name} was undone")
        return
    if not step.undoable or step.undo_skipped:
        return
    if effects and not step.by_operator:
        yield Violation("I1", story.run_id, f"it ended {status}, and the effect of {step.name} still stands")
    if step.may_stand and not step.undone:
        yield Violation(
            "I1", story.run_id, f"it ended {status}, and {step.name} was never recorded as undone"
        )


# ---- the clients' view -----------------------------------------------------------------------------------------------


def _clients(
    evidence: Evidence, stories: dict[str, Story], commits: dict[str, dict[int, Committed]]
) -> Iterator[Violation]:
    for said in evidence.said:
        story = stories.get(said.run_id)
        if said.what not in ("started", "cancelled", "terminated", "ended", "completed", "failed"):
            continue
        if story is None:
            yield Violation("I1", said.run_id, f"a client was told that it is {said.what}, and it is lost")
            continue
        if said.what == "started":
            first = commits[said.run_id].get(1)
            durable = first.ticket if first else 0
        elif said.what == "cancelled":
            durable = story.cancel_requested
        elif said.what == "terminated":
            durable = story.termination_asked
        elif said.what in ("completed", "failed"):
            step = story.steps[said.detail]
            durable = max((ticket for ticket in step.arrived if ticket < said.ticket), default=0)
            if said.what == "completed" and not step.done:
                yield Violation(
                    "I7", said.run_id, f"the completion of {step.name} was acknowledged, and is lost"
                )
        else:
            endings = [ending for ending in story.endings if 0 < ending.ticket < said.ticket]
            durable = endings[-1].ticket if endings else 0
            yield from _told(endings[-1] if endings else story.ending, story, said.detail)
        if not 0 < durable < said.ticket:
            yield Violation(
                "G3", said.run_id, f"a client was told that it is {said.what} before that was durable"
            )


def _told(ending: Fact | None, story: Story, detail: object) -> Iterator[Violation]:
    if ending is None:
        return
    event = ending.event
    recorded = (event["event"], event["result"]) if event["event"] == "RunCompleted" else event["event"]
    if detail != recorded:
        yield Violation("I3", story.run_id, f"a client was told {detail!r}, and recorded is {recorded!r}")
