"""What a workflow must not ask, since a replay would be answered otherwise: MG401 to MG409, MG110 and MG601.

Looked for in the workflow and in the functions of the user's that it can reach, not in steps.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from makegood.check.code import UNKNOWN, plain_function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from makegood.check.code import Code


class Rule(NamedTuple):
    """Names that only a step may use. One that ends with a dot stands for everything below it."""

    code: str
    names: tuple[str, ...]
    why: str
    advice: str

    def covers(self, name: str) -> bool:
        return any(name == one or (one[-1] == "." and name.startswith(one)) for one in self.names)


CLOCK = Rule(
    "MG401",
    (
        "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
        "time.localtime", "time.gmtime", "time.strftime", "time.ctime", "datetime.datetime.now",
        "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    ),
    "reads the machine's clock, and a replay would read another time",
    "Use mg.now(), or read the clock in a step.",
)  # fmt: skip
CHANCE = Rule(
    "MG402",
    (
        "random.", "secrets.", "numpy.random.", "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "builtins.hash",
        "builtins.id",
    ),
    "gives another value in every process, and a replay would decide otherwise",
    "Use mg.random() or mg.uuid4(), or draw it in a step.",
)  # fmt: skip
SURROUNDINGS = Rule(
    "MG403",
    (
        "os.environ", "os.environ.", "os.getenv", "os.getpid", "os.getcwd", "os.cpu_count", "sys.argv", "platform.",
        "getpass.", "locale.",
    ),
    "depends on the process that happens to run it, and a replay may run in another one",
    "Read it in a step, or pass it to the workflow as an argument.",
)  # fmt: skip
NETWORK = Rule(
    "MG404",
    (
        "httpx.", "requests.", "aiohttp.", "urllib.request.", "urllib3.", "http.client.", "socket.", "ssl.", "smtplib.",
        "ftplib.", "imaplib.", "poplib.", "telnetlib.", "xmlrpc.", "websockets.", "grpc.", "boto3.", "botocore.",
        "aioboto3.", "paramiko.", "asyncpg.", "psycopg.", "psycopg2.", "pymysql.", "aiomysql.", "sqlalchemy.", "pymongo.",
        "motor.", "redis.", "aiokafka.", "kafka.", "pika.", "aio_pika.", "nats.", "stripe.", "openai.",
        "asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection", "asyncio.start_unix_server",
    ),
    "talks to the network, unrecorded: a replay would do it again",
    "Do it in an @mg.step.",
)  # fmt: skip
FILES = Rule(
    "MG405",
    (
        "builtins.open", "io.open", "pathlib.", "subprocess.", "shutil.", "tempfile.", "glob.", "sqlite3.", "apsw.",
        "aiosqlite.", "aiofiles.", "fileinput.", "dbm.", "shelve.", "os.system", "os.popen", "os.remove", "os.rename",
        "os.replace", "os.unlink", "os.mkdir", "os.makedirs", "os.rmdir", "os.listdir", "os.scandir", "os.walk", "os.stat",
        "os.kill", "os.fork", "os.path.exists", "os.path.getsize", "os.path.getmtime", "os.path.isfile", "os.path.isdir",
        "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "builtins.exec", "builtins.eval",
    ),
    "touches files or other processes, unrecorded: a replay would do it again, or find them changed",
    "Do it in an @mg.step.",
)  # fmt: skip
BLOCKING = Rule(
    "MG406",
    (
        "time.sleep", "threading.", "_thread.", "multiprocessing.", "concurrent.futures.", "queue.", "signal.",
        "asyncio.to_thread", "asyncio.run", "asyncio.run_coroutine_threadsafe", "asyncio.new_event_loop",
        "builtins.input", "anyio.", "trio.", "gevent.",
    ),
    "blocks the worker or leaves its thread, and nothing of it would survive a crash",
    "Wait with mg.sleep() or asyncio.sleep(), and put blocking work into a plain `def` step: it has a thread.",
)  # fmt: skip
RULES = (CLOCK, CHANCE, SURROUNDINGS, NETWORK, FILES, BLOCKING)

HARMLESS = (  # of the names above
    "pathlib.PurePath", "pathlib.PurePosixPath", "random.Random().", "aiohttp.web.", "httpx.URL", "httpx.codes",
    "socket.AF_",
)  # fmt: skip
PURE_PATH = ("joinpath", "with_suffix", "with_name", "as_posix", "relative_to")
LOOP_CALLS = ("run_in_executor", "call_soon_threadsafe")
LOOPS = ("asyncio.get_running_loop()", "asyncio.get_event_loop()")
ONLY_IN_STEPS = (
    "idempotency_key",
    "original_key",
    "completion_token",
    "attempt",
    "heartbeat",
    "last_heartbeat",
)
KEEPING_ORDER = (
    "builtins.list",
    "builtins.tuple",
    "builtins.enumerate",
    "builtins.iter",
    "builtins.reversed",
)
MUTATORS = frozenset(
    (
        "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove",
        "setdefault", "update",
    )
)  # fmt: skip
Found = tuple[str, ast.AST, str, str]


def nondeterminism(code: Code) -> Iterator[Found]:
    """Code, node, what and advice for everything in one function that a replay would see otherwise."""
    for statement in code.node.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                yield from _called(code, node)
                yield from _drained_set(code, node)
                yield from _as_completed(code, node)
            elif isinstance(node, (ast.Attribute, ast.Name, ast.Subscript)):
                yield from _named(code, node)
            elif isinstance(node, (ast.For, ast.ListComp, ast.GeneratorExp, ast.DictComp)):
                yield from _set_order(code, node)
            elif isinstance(node, ast.Global):
                yield _written(code, node, node.names[0])


def _called(code: Code, call: ast.Call) -> Iterator[Found]:
    name = code.dotted(call.func)
    said = ast.unparse(call.func)
    if code.is_behind_a_step(call.func):
        assert isinstance(call.func, ast.Attribute)
        step = ast.unparse(call.func.value)
        what = f"{said}() runs the plain function: nothing of it is recorded, retried or undone, and a replay does it again."
        yield "MG110", call, what, f"Call {step}(…) itself."
        return
    if name in [f"makegood.{one}" for one in ONLY_IN_STEPS]:
        what = f"{said}() is asked in a workflow, where no attempt is under way: it raises NotInStep."
        yield "MG601", call, what, "Ask it in the step, its compensation or its probe."
        return
    loop, _, method = name.rpartition(".")
    if method in LOOP_CALLS and loop in (*LOOPS, "?"):
        yield BLOCKING.code, call, f"{said}() {BLOCKING.why}.", BLOCKING.advice
        return
    if name == "random.Random" and call.args:
        return  # with a seed it draws the same everywhere
    if name.startswith("pathlib.") and (not name.startswith("pathlib.Path().") or method in PURE_PATH):
        return  # a path is only a name until it is opened
    for rule in RULES:
        if rule.covers(name) and not name.startswith(HARMLESS) and not _is_class(code, call.func, rule):
            yield rule.code, call, f"{said}() {rule.why}.", rule.advice
            return
    if _mutates(code, call.func):
        yield _written(code, call, ast.unparse(call.func))


def _is_class(code: Code, function: ast.expr, rule: Rule) -> bool:
    """Whether an object is only made, or an exception: ``httpx.URL(…)``."""
    value = code.value(function)
    return rule in (NETWORK, BLOCKING) and isinstance(value, type) and issubclass(value, BaseException)


def _named(code: Code, node: ast.Attribute | ast.Name | ast.Subscript) -> Iterator[Found]:
    """Values that are only named: ``os.environ``; and what is written to shared objects."""
    if isinstance(node.ctx, (ast.Store, ast.Del)):
        owner = node if isinstance(node, ast.Name) else _root(node)
        if not isinstance(node, ast.Name) and isinstance(owner, ast.Name) and _is_shared(code, owner):
            yield _written(code, node, ast.unparse(node))
    elif not isinstance(node, ast.Subscript) and code.dotted(node) in ("os.environ", "sys.argv"):
        yield SURROUNDINGS.code, node, f"{ast.unparse(node)} {SURROUNDINGS.why}.", SURROUNDINGS.advice


def _mutates(code: Code, function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in MUTATORS:
        return False
    value = code.value(function.value)
    return isinstance(value, (list, dict, set, bytearray)) or type(value).__name__ in ("deque", "OrderedDict")


def _is_shared(code: Code, name: ast.Name) -> bool:
    """Whether it is a variable outside the function; one of a function around it counts, too, if it is the module's."""
    return name.id not in code.locals and name.id not in code.imports and code.value(name) is not UNKNOWN


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


def _written(code: Code, node: ast.AST, name: str) -> Found:
    what = f"{name} is written in a workflow: all runs of the process share it, and every replay writes it again."
    return "MG408", node, what, f"Keep it in a variable of {code.name}, or write it in a step."


# ---- the order of sets ---------------------------------------------------------------------------------------------


def _set_order(code: Code, node: ast.For | ast.ListComp | ast.GeneratorExp | ast.DictComp) -> Iterator[Found]:
    """A loop over a set whose body awaits or calls something durable."""
    if isinstance(node, ast.For):
        iterated, body = node.iter, node.body
    else:
        iterated, body = node.generators[0].iter, [node]  # type: ignore[list-item] # only walked
    if _is_set(code, iterated) and any(_is_durable(code, inner) for part in body for inner in ast.walk(part)):
        yield _unordered(iterated)


def _drained_set(code: Code, call: ast.Call) -> Iterator[Found]:
    """``waiting.pop()`` of a set."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "pop" and not call.args:
        yield from [_unordered(call.func.value)] if _is_set(code, call.func.value) else []


def _unordered(iterated: ast.expr) -> Found:
    what = f"{ast.unparse(iterated)} is a set: its order differs between processes, and so would the order of the steps."
    return "MG407", iterated, what, "Iterate over sorted(…), or keep a list or a dict."


def _is_durable(code: Code, node: ast.AST) -> bool:
    return isinstance(node, ast.Await) or (
        isinstance(node, ast.Call) and type(code.value(node.func)).__module__.startswith("makegood.")
    )


def _is_set(code: Code, expression: ast.expr) -> bool:
    match expression:
        case ast.Set() | ast.SetComp():
            return True
        case ast.BinOp(left, ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right):
            return _is_set(code, left) or _is_set(code, right)
        case ast.Call(args=[first, *_]) if code.dotted(expression.func) in KEEPING_ORDER:
            return _is_set(code, first)
        case ast.Call():
            return code.dotted(expression.func) in ("builtins.set", "builtins.frozenset")
        case ast.Name(id=name) if name in code.locals:
            return _is_local_set(code, name)
        case _:
            return isinstance(code.value(expression), (set, frozenset))


def _is_local_set(code: Code, name: str) -> bool:
    """Whether a variable is a set wherever it gets its value."""
    given = []
    for node in ast.walk(code.node):
        declared = node.arg if isinstance(node, ast.arg) else None
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            declared = node.target.id
        if isinstance(node, (ast.arg, ast.AnnAssign)) and declared == name:
            given.append(_says_set(node.annotation))
        elif isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            mentions = any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node.value))
            given.append(not mentions and _is_set(code, node.value))
    return bool(given) and all(given)


def _says_set(annotation: ast.expr | None) -> bool:
    root = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return isinstance(root, ast.Name) and root.id in ("set", "frozenset", "Set", "FrozenSet", "AbstractSet")


def _as_completed(code: Code, call: ast.Call) -> Iterator[Found]:
    """asyncio.as_completed puts what it is given into a set; coroutines become tasks only there."""
    if code.dotted(call.func) not in ("asyncio.as_completed", "asyncio.tasks.as_completed") or not call.args:
        return
    for node in ast.walk(call.args[0]):
        if isinstance(node, ast.Call) and plain_function(code.value(node.func)) is not None:
            what = (
                f"asyncio.as_completed starts the coroutines {ast.unparse(node.func)}(…) in no certain order: "
                "a replay would call their steps in another one."
            )
            yield "MG409", call, what, "Make tasks of them first: [asyncio.create_task(…) for …]."
            return
