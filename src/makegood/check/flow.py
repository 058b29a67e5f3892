"""A workflow's saga, followed along every path of its source: what is done when something can still fail.

Branches are joined by what *may* have happened; loops are walked twice. ``walk`` reads the syntax, ``saga`` has the rules.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from makegood.check.code import Code
    from makegood.definition.step import Step


class Place(NamedTuple):
    """Where something stands."""

    code: Code
    node: ast.AST


class Effect(NamedTuple):
    """A step that was done and cannot be undone: the calls that led there, and what it stood in."""

    step: Step[..., Any]
    trail: tuple[ast.AST, ...]
    blocks: tuple[Block, ...]


class Block(NamedTuple):
    """Something that code stands in: ``saga``, ``try``, ``timeout``, ``group``, ``workflow``."""

    kind: str
    node: ast.AST
    catches: tuple[type[BaseException], ...] = ()
    seconds: float | None = None


class State(NamedTuple):
    """What may have happened on the way here."""

    open: frozenset[Effect] = frozenset()
    may_be_behind_pivot: bool = False
    is_behind_pivot: bool = False
    undoable: bool = False
    registered: Place | None = None  # an mg.on_rollback whose effect has not come yet
    latest: Effect | None = None  # what was done just before it

    def joined(self, other: State | None) -> State:
        if other is None or other == self:
            return self
        return State(
            self.open | other.open,
            self.may_be_behind_pivot or other.may_be_behind_pivot,
            self.is_behind_pivot and other.is_behind_pivot,
            self.undoable or other.undoable,
            self.registered if self.registered == other.registered else None,
            self.latest if self.latest == other.latest else None,
        )


def join(*states: State | None) -> State | None:
    """Where paths meet; None is a path that does not get there."""
    joined: State | None = None
    for state in states:
        if state is not None:
            joined = state.joined(joined)
    return joined


class Failure(NamedTuple):
    """Something that may go wrong: in the words of a finding, and as an exception."""

    words: str
    place: Place
    raises: type[BaseException]


def reached_by(failure: type[BaseException], effect: Effect, blocks: tuple[Block, ...]) -> bool:
    """Whether the failure, raised inside ``blocks``, would have the effect undone."""
    for block in reversed(blocks):
        if block.kind == "try" and any(issubclass(failure, caught) for caught in block.catches):
            return False
        if block.kind == "saga" and block in effect.blocks:
            return True
    return True
