"""The part of the judge that looks at what clients were told of a run before its end: answers to updates, and views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.evidence import Evidence, Said
from tests.faults.story import Story, Violation


def told_of(evidence: Evidence, stories: dict[str, Story]) -> Iterator[Violation]:
    """Everything that is wrong with the updates and views of a fault run."""
    for story in stories.values():
        if story.ending is not None and story.ending.event["event"] != "RunTerminated":
            for update in story.asked.keys() - story.answered.keys():
                yield Violation("I7", story.run_id, f"it ended, and update {update} was never answered")
    for said in evidence.said:
        story = stories.get(said.run_id)
        if story is None:
            continue
        if said.what == "answered":
            yield from _answered(said, story)
        elif said.what == "rejected" and said.detail in story.asked:
            yield Violation("I7", said.run_id, f"update {said.detail} was rejected, and is recorded")
        elif said.what == "seen":
            yield from _seen(said, said.detail, story)
        elif said.what == "seen to the end":
            yield from _last_seen(said.detail, story)


def _answered(said: Said, story: Story) -> Iterator[Violation]:
    update, told = said.detail
    answer = story.answered.get(update)
    if answer is None or not 0 < answer.ticket < said.ticket:
        yield Violation("G3", said.run_id, f"the answer to {update} was told before it was durable")
        return
    failure = answer.event.get("failure")
    recorded = failure["type"] if failure else answer.event.get("reply")
    if told != recorded:
        yield Violation("I3", said.run_id, f"update {update} was answered {told!r}, recorded is {recorded!r}")


def _seen(said: Said, view: dict[str, Any], story: Story) -> Iterator[Violation]:
    """Nothing is seen before it is durable."""
    shown = {
        fact.event["fields"]["status"]
        for fact in story.shown
        if "status" in fact.event["fields"] and 0 < fact.ticket < said.ticket
    }
    if view["status"] not in shown | {"RUNNING"}:
        yield Violation("G3", said.run_id, f"status {view['status']} was seen before it was durable")
    for name in view["steps_completed"]:
        if not 0 < story.steps[name].done < said.ticket:
            yield Violation("G3", said.run_id, f"step {name} was seen as completed before that was durable")


def _last_seen(view: dict[str, Any], story: Story) -> Iterator[Violation]:
    standing = [step.name for step in story.steps.values() if step.done and not step.undo_scheduled]
    if story.ending is None:
        yield Violation("I7", story.run_id, "the views came to an end before the run did")
    elif view["steps_completed"] != standing or view["steps_pending"]:
        yield Violation("I7", story.run_id, f"the last view is {view}, and {standing} are completed")
