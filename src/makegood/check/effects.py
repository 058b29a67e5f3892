"""What a step's code does to the world, as far as its source tells: nothing, something that can fail, or an effect.

A call of something that cannot be followed counts as an effect: its author knows better and says so.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from makegood.check.code import UNKNOWN, Code, Library
from makegood.definition.step import Step
from makegood.definition.workflow import Workflow

if TYPE_CHECKING:
    from makegood.definition.retry import Retry

KEYS = ("makegood.idempotency_key", "makegood.original_key")
TOKEN = "makegood.completion_token"  # noqa: S105 - a function's name
ACTING_BUILTINS = ("open", "exec", "eval", "compile", "__import__", "input")
HARMLESS_MODULES = frozenset(
    (
        "abc", "asyncio", "base64", "bisect", "collections", "contextlib", "contextvars", "copy", "dataclasses", "datetime",
        "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "html", "inspect", "ipaddress",
        "itertools", "json", "logging", "makegood", "math", "msgspec", "operator", "orjson", "platform", "pprint",
        "pydantic", "random", "re", "secrets", "statistics", "string", "structlog", "textwrap", "time", "types", "typing",
        "unicodedata", "uuid", "warnings", "zlib", "zoneinfo",
    )
)  # fmt: skip
ACTING_CALLS = (
    "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
    "asyncio.open_connection",
)
HARMLESS_CALLS = (
    "os.getenv",
    "os.getpid",
    "os.path.",
    "os.environ.",
    "os.urandom",
    "urllib.parse.",
    "pathlib.Path().joinpath",
)
READING_METHODS = frozenset(
    (
        "exists",
        "fetch",
        "fetchall",
        "fetchone",
        "fetchrow",
        "fetchval",
        "get",
        "head",
        "is_file",
        "read_bytes",
        "read_text",
    )
)
HARMLESS_METHODS = frozenset(
    (
        "add", "append", "as_dict", "astimezone", "capitalize", "clear", "copy", "count", "date", "decode", "dict",
        "digest", "discard", "encode", "endswith", "extend", "find", "format", "fromisoformat", "hex", "hexdigest",
        "index", "is_set", "isdigit", "isoformat", "items", "join", "json", "keys", "lower", "lstrip", "model_copy",
        "model_dump", "model_dump_json", "model_validate", "partition", "pop", "popleft", "quantize",
        "raise_for_status", "removeprefix", "removesuffix", "replace", "rpartition", "rsplit", "rstrip", "setdefault",
        "sort", "split", "splitlines", "startswith", "strftime", "strip", "time", "timestamp", "title", "total_seconds",
        "upper", "values", "zfill",
    )
)  # fmt: skip


class Deeds(NamedTuple):
    """What a function does, itself and through the user's other functions."""

    acts: bool = False
    can_fail: bool = False
    uses_key: bool = False
    gives_token: bool = False
    waits_outside: bool = False  # returns mg.PENDING
    beats: bool = False

    def with_(self, other: Deeds) -> Deeds:
        return Deeds(*(one or two for one, two in zip(self, other, strict=True)))


NOTHING = Deeds()


class Effects:
    """What functions and steps do, each looked at once."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._known: dict[Code, Deeds] = {}

    def of(self, code: Code | None) -> Deeds:
        """What a function does; one that cannot be read may do anything."""
        if code is None:
            return Deeds(acts=True, can_fail=True, uses_key=True, gives_token=True, beats=True)
        if code not in self._known:
            self._known[code] = NOTHING  # while it is looked at: it may call itself
            self._known[code] = self._looked_at(code)
        return self._known[code]

    def of_step(self, step: Step[..., object]) -> Deeds:
        """What a step's function does, unless its author says that it has no effect."""
        code = self.library.code(step.function)
        deeds = self.of(code)
        if code is not None and code.source.says_no_effect(code.declaration):
            return deeds._replace(acts=False)
        return deeds

    def can_give_up(self, step: Step[..., object]) -> bool:
        """Whether a call of this step can end in a failure that the workflow gets to feel."""
        options = step.options_
        if not options.critical or options.on_exhausted == "park":
            return False
        if is_forever(options.retry) and not options.fatal:
            return False
        return self.of_step(step).can_fail

    def _looked_at(self, code: Code) -> Deeds:
        deeds = NOTHING
        awaited = {id(node.value) for node in ast.walk(code.node) if isinstance(node, ast.Await)}
        for statement in code.node.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Call):
                    deeds = deeds.with_(self._call(code, node, awaited=id(node) in awaited))
                elif isinstance(node, ast.Raise):
                    deeds = deeds._replace(can_fail=True)
                elif isinstance(node, (ast.Name, ast.Attribute)):
                    deeds = deeds.with_(_named(code.dotted(node)))
        return deeds

    def _call(self, code: Code, call: ast.Call, *, awaited: bool) -> Deeds:
        value = code.value(call.func)
        if isinstance(value, (Step, Workflow)) or (
            isinstance(call.func, ast.Name) and call.func.id in code.nested
        ):
            return NOTHING  # what is defined in it is looked at where it stands
        called = self.library.code(value) if value is not UNKNOWN else None
        if called is not None:
            return self.of(called)
        if isinstance(value, type) and value.__name__ != "socket":
            return NOTHING  # making an object does nothing yet
        return _foreign(code.dotted(call.func), awaited=awaited)


def _named(name: str) -> Deeds:
    if name in KEYS:
        return Deeds(uses_key=True)
    if name == TOKEN:
        return Deeds(gives_token=True)
    if name == "makegood.PENDING":
        return Deeds(waits_outside=True)
    if name == "makegood.heartbeat":
        return Deeds(beats=True)
    return NOTHING


def _foreign(name: str, *, awaited: bool) -> Deeds:
    """What a call does that leads out of the user's own code, by its name."""
    module, _, rest = name.partition(".")
    method = name.rpartition(".")[2]
    if name in ACTING_CALLS or (module == "builtins" and rest in ACTING_BUILTINS):
        return Deeds(acts=True, can_fail=True)
    if module in HARMLESS_MODULES or name.startswith(HARMLESS_CALLS):
        return NOTHING
    if module == "builtins" and not rest.startswith("NoneType"):
        return NOTHING
    if method in READING_METHODS:
        return Deeds(can_fail=awaited or module != "?")
    if method in HARMLESS_METHODS or name == "?":
        return NOTHING if method in HARMLESS_METHODS else Deeds(acts=True, can_fail=True)
    return Deeds(acts=True, can_fail=True)


def is_forever(retry: Retry | None) -> bool:
    return retry is not None and retry.max_attempts is None
