"""What a user's function takes and returns, and how both travel as JSON.

Arguments are kept as one JSON array in the order of the parameters, defaults filled in.
Annotations are resolved at first use, when every class that they name exists.
"""

from __future__ import annotations

import inspect
import types
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from makegood.definition.completion import Pending
from makegood.definition.payload import Payload
from makegood.errors import DefinitionError, PayloadError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


class Signature:
    """The parameters and the result of one function, with their payload types.

    The first ``given`` parameters are not the caller's: the engine gives them (a transaction's connection).
    """

    def __init__(self, function: Callable[..., Any], kind: str, given: int = 0) -> None:
        self.function = function
        self.where = f"{kind} {function.__name__}"
        whole = inspect.signature(function)
        self._signature = whole.replace(parameters=list(whole.parameters.values())[given:])
        self._names = tuple(self._signature.parameters)
        self._keyword_names = []
        for parameter in self._signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise DefinitionError(
                    f"{self.where}: *args and **kwargs cannot be stored by annotation. Name each parameter."
                )
            if parameter.kind is parameter.KEYWORD_ONLY:
                self._keyword_names.append(parameter.name)
        self._positional_count = len(self._names) - len(self._keyword_names)
        self._complete_count = -1 if self._keyword_names else len(self._names)

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The caller's parameters."""
        return list(self._signature.parameters.values())

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> msgspec.Raw:
        """Check the arguments against the signature and encode them.

        Raises:
            UsageError: they do not fit the signature.
            PayloadError: one of them cannot be stored.
        """
        if kwargs or len(args) != self._complete_count:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise UsageError(f"{self.where}{self._signature}: {error}.") from None
            bound.apply_defaults()
            args = tuple(bound.arguments.values())
        try:
            return self._arguments.encode(args)
        except PayloadError:
            for payload, value in zip(self._parameters, args, strict=True):
                payload.encode(value)  # says which argument it is
            raise

    def decode_arguments(self, data: bytes) -> inspect.BoundArguments:
        """Arguments that come from outside as JSON: an array by position, an object by name.

        For a function of one parameter, any JSON value that fits it is that argument.

        Raises:
            UsageError: it is no JSON, or does not fit the signature.
            PayloadError: a value does not fit its parameter's annotation.
        """
        whole, parts = msgspec.Raw(data), self._parts(data)
        if len(self._names) == 1:
            try:
                return self._bind({self._names[0]: whole} if self._keyword_names else [whole])
            except PayloadError:
                if len(parts) != 1 or (isinstance(parts, dict) and self._names[0] not in parts):
                    raise
        return self._bind(parts)

    def _parts(self, data: bytes) -> list[msgspec.Raw] | dict[str, msgspec.Raw]:
        try:
            value = msgspec.json.decode(data)
            if isinstance(value, dict):
                return msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            if isinstance(value, list):
                return msgspec.json.decode(data, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UsageError(f"{self.where}: the arguments are no JSON: {error}.") from error
        if len(self._names) == 1:
            return []
        raise UsageError(
            f"{self.where}{self._signature}: give the arguments as a JSON array, or as an object by name."
        )

    def _bind(self, parts: list[msgspec.Raw] | dict[str, msgspec.Raw]) -> inspect.BoundArguments:
        bind = self._signature.bind
        try:
            bound = bind(**parts) if isinstance(parts, dict) else bind(*parts)
        except TypeError as error:
            raise UsageError(f"{self.where}{self._signature}: {error}.") from None
        for name, payload in zip(self._names, self._parameters, strict=True):
            if name in bound.arguments:
                bound.arguments[name] = payload.decode(bound.arguments[name])
        return bound

    @cached_property
    def call(self) -> Callable[[msgspec.Raw], Any]:
        """Call the function with stored arguments (a coroutine function returns its coroutine)."""
        if self._keyword_names:
            return partial(self.call_other, self.function)
        function, decode = self.function, self._arguments.decode
        return lambda arguments: function(*decode(arguments))

    def call_other(self, function: Callable[..., Any], arguments: msgspec.Raw, *before: Any) -> Any:
        """Call another function that takes the same arguments (a compensation, after its result)."""
        values = self._arguments.decode(arguments)
        if not self._keyword_names:
            return function(*before, *values)
        keywords = dict(zip(self._keyword_names, values[self._positional_count :], strict=True))
        return function(*before, *values[: self._positional_count], **keywords)

    @cached_property
    def encode_result(self) -> Callable[[Any], msgspec.Raw]:
        """The result as JSON, see ``Payload.encode``."""
        return self._result.encode

    @cached_property
    def decode_result(self) -> Callable[[msgspec.Raw], Any]:
        """The result that was stored, see ``Payload.decode``."""
        return self._result.decode

    def check_result(self, data: msgspec.Raw) -> None:
        """Whether a result that comes from outside can be taken.

        Raises:
            PayloadError: it does not fit the annotation, or is too large.
        """
        self._result.encode(self._result.decode(data))

    def resolve(self) -> None:
        """Build the payload types now, so that a wrong annotation is found at the start and not in the middle of a run."""
        _ = self._arguments, self._result

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self.function, include_extras=True)
        except Exception as error:
            raise DefinitionError(
                f"{self.where}: the annotations cannot be resolved: {error}. "
                "Import what they name at run time, not only under TYPE_CHECKING, and define it at module level."
            ) from error

    @cached_property
    def _parameters(self) -> tuple[Payload, ...]:
        return tuple(
            Payload(self._hints.get(name, Any), f"argument '{name}' of {self.where}") for name in self._names
        )

    @cached_property
    def _arguments(self) -> Payload:
        annotations = tuple(payload.annotation for payload in self._parameters)
        return Payload(tuple[annotations] if annotations else tuple[()], f"arguments of {self.where}")  # type: ignore[valid-type]

    @cached_property
    def _result(self) -> Payload:
        annotation = _without_pending(self._hints.get("return", Any))
        return Payload(None if annotation is type(None) else annotation, f"result of {self.where}")


def _without_pending(annotation: Any) -> Any:
    """What a step may return in the end: of ``Receipt | mg.Pending`` the ``Receipt``."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    left = tuple(one for one in get_args(annotation) if one is not Pending)
    return annotation if len(left) == len(get_args(annotation)) else Union[left]  # noqa: UP007 - made at run time


def accepts_none_first(function: Callable[..., Any]) -> bool:
    """Whether the first parameter's annotation admits None (or there is none)."""
    first = next(iter(inspect.signature(function).parameters), None)
    try:
        annotation = get_type_hints(function).get(first, Any) if first else Any
    except Exception:  # noqa: BLE001 - resolving runs whatever the annotation says; unresolved, it is taken at its word
        return True
    if annotation in (Any, object, None, type(None)):
        return True
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
