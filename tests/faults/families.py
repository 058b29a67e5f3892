"""What the checker demands of runs and their children: the family's journals have to tell one story."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.faults.evidence import Called
from tests.faults.sagas import Terms
from tests.faults.story import StepStory, Story, Violation

STATUS_OF = {
    "RunCompleted": "COMPLETED",
    "RunFailed": "FAILED",
    "RunCompensated": "COMPENSATED",
    "RunCancelled": "CANCELLED",
    "RunTerminated": "TERMINATED",
}


def families(
    stories: Mapping[str, Story], calls: Mapping[str, Sequence[Called]], terms: Terms
) -> Iterator[Violation]:
    """Everything that is wrong between parents and children."""
    for story in stories.values():
        if story.parent is not None:
            yield from _birth(story, stories)
        for step in story.steps.values():
            if step.child:
                yield from _predecessors(story, step, terms)
                child = stories.get(step.child)
                if child is not None and child.parent == (story.run_id, step.number):
                    yield from _told(story, step, child)
                    yield from _undone(step, child, calls.get(child.run_id, ()))
                elif step.done or step.child_ended:
                    yield Violation("I1", story.run_id, f"child {step.child} ended, and there is no such run")


def is_held_up_by_a_child(story: Story, stories: Mapping[str, Story]) -> bool:
    """Whether a child that it waits for is parked, or held up in its turn."""
    waiting = [
        step for step in story.steps.values() if step.child and not (step.settled and not is_undoing(step))
    ]
    children = [stories[step.child] for step in waiting if step.child in stories]
    return any(
        child.ending is None and (child.parked or is_held_up_by_a_child(child, stories)) for child in children
    )


def is_undoing(step: StepStory) -> bool:
    return bool(step.undo_scheduled) and not (step.undone or step.undo_skipped)


def _birth(child: Story, stories: Mapping[str, Story]) -> Iterator[Violation]:
    assert child.parent is not None
    parent_id, number = child.parent
    step = stories[parent_id].by_number.get(number) if parent_id in stories else None
    if step is None or step.child != child.run_id:
        yield Violation("I5", child.run_id, f"run {parent_id} tells of no such child")
    elif not 0 < step.intents["do"][0][0] < child.began:
        yield Violation("I5", child.run_id, "it began before the intent to start it was durable")


def _predecessors(parent: Story, step: StepStory, terms: Terms) -> Iterator[Violation]:
    scheduled = step.intents["do"][0][0]
    for name in terms.predecessors.get(step.name, frozenset()):
        before = parent.steps.get(name)
        if before is None or not 0 < before.settled <= scheduled:
            yield Violation("I5", parent.run_id, f"child {step.name} is started before {name} is over")


def _told(parent: Story, step: StepStory, child: Story) -> Iterator[Violation]:
    """What the parent was told of its child is what the child's journal tells, and was durable there before."""

    def wrong(message: str) -> Violation:
        return Violation("I1", parent.run_id, f"child {child.run_id}: {message}")

    last = child.endings[-1] if child.endings else None  # a late result may have reopened it
    ended = STATUS_OF[last.event["event"]] if last is not None else ""
    if step.settled and not step.child_ended and not step.done:
        yield wrong("it was given up as if it had never begun")
    if step.done and not step.undo_scheduled and ended != "COMPLETED":
        yield wrong(f"its parent has its result, and it is {ended or child.status}")
    if step.child_ended and step.child_ended != ended:
        yield wrong(f"its parent was told that it ended {step.child_ended}, and it ended {ended}")
    told = step.done or (step.failed if step.child_ended else 0)
    ended_at = child.completed if step.done else child.endings[0].ticket if child.endings else 0
    if told and not 0 < ended_at < told:
        yield Violation("G3", parent.run_id, f"child {child.run_id} has ended before that was durable")
    left = last.event.get("residue", []) if last is not None and not step.done else []
    if sorted(left) != sorted(step.left_open) and step.child_ended:
        yield wrong(f"it left {left} open, and its parent knows of {step.left_open}")


def _undone(step: StepStory, child: Story, calls: Sequence[Called]) -> Iterator[Violation]:
    """A child is undone when it is its turn in the parent's rollback, and then wholly."""

    def wrong(invariant: str, message: str) -> Violation:
        return Violation(invariant, child.run_id, message)

    if child.undo_requested and not 0 < step.undo_scheduled < child.undo_requested:
        yield wrong("I2", "its undo is requested before its parent has come to it")
    settled = step.undone or step.undo_skipped
    if settled and not child.undo_requested:
        yield wrong("I1", "its parent calls it undone, and nobody has asked it")
    undone_by = [one.ticket for one in child.endings if child.undo_requested < one.ticket < settled]
    if settled and not undone_by:
        yield wrong("I1", "its parent goes on before it is undone")
    if (
        settled
        and child.ending is not None
        and step.undone
        and child.ending.event["event"] == "RunTerminated"
    ):
        yield wrong("I1", "its parent calls it undone, and something was left open")
    late = [
        call.ticket
        for call in calls
        if call.direction == "undo" and 0 < settled < call.ticket and not child.steps[call.step].rounds
    ]
    if child.undo_requested and late:
        yield wrong("I2", "it was undone out of its turn")
