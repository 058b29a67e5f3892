"""Payloads: the values that cross the journal, as JSON typed by annotations.

``Payload`` encodes and decodes one type; ``definition.signature`` holds one per function. A value is accepted only
if it comes back equal: what a run sees after a restart is what it saw before.
"""

from __future__ import annotations

import json
import types
from typing import Any, Union, get_args, get_origin

import msgspec

from makegood.errors import DefinitionError, PayloadError

LIMIT_BYTES = 2 * 1024 * 1024
NULL = msgspec.Raw(b"null")
TOO_LARGE = (
    "{}: {:,} bytes of JSON, and the limit is {:,}. Keep large data elsewhere and pass a reference to it."
)
PLAIN_TYPES = frozenset({int, str, bool, type(None)})
"""Their values come back equal if they can be encoded at all. (A float does not: NaN is written as null.)"""
PLAIN_LIMIT_BYTES = 640
"""Longer integers may be writable and yet not readable (see ``sys.set_int_max_str_digits``)."""


class Payload:
    """The way of one annotated type through JSON and back; ``where`` names it in errors.

    ``plain`` are the types whose short values need not be read back to know that they come back equal.
    """

    __slots__ = ("_decode", "annotation", "plain", "where")

    def __init__(self, annotation: Any, where: str) -> None:
        self.annotation = annotation
        self.where = where
        self.plain = _plain(annotation)
        try:
            self._decode = msgspec.json.Decoder(annotation, dec_hook=_decode_hook).decode
        except (TypeError, RuntimeError, NotImplementedError) as error:
            raise DefinitionError(
                f"{where}: the annotation {annotation!r} cannot be stored as JSON: {error}"
            ) from error

    def encode(self, value: Any) -> msgspec.Raw:
        """The value as JSON.

        Raises:
            PayloadError: it does not fit the annotation, does not come back equal, or is larger than LIMIT_BYTES.
        """
        try:
            data = _encode(value)
            kind = type(value)
            if kind in self.plain and len(data) <= PLAIN_LIMIT_BYTES:
                return msgspec.Raw(data)
            back = self._decode(data)
            if type(back) is kind and back == value and len(data) <= LIMIT_BYTES:
                return msgspec.Raw(data)
        except Exception:  # noqa: BLE001, S110 - a user's class may raise anything on the way; the careful way says what
            pass
        return self._encode_carefully(value)

    def _encode_carefully(self, value: Any) -> msgspec.Raw:
        """The same for a value that is not plainly right: accept it all the same, or say what is wrong."""
        try:
            data = _encode(value)
        except Exception as error:
            raise PayloadError(
                f"{self.where}: {_shown(value)} cannot be stored as JSON: {error}. {HINT}"
            ) from error
        if len(data) > LIMIT_BYTES:
            raise PayloadError(TOO_LARGE.format(self.where, len(data), LIMIT_BYTES))
        back = self.decode(data)
        if not _same(value, back):
            raise PayloadError(
                f"{self.where}: {_shown(value)} would come back from JSON as {_shown(back)} under the annotation "
                f"{_type_text(self.annotation)}. {HINT}"
            )
        return msgspec.Raw(data)

    def decode(self, data: msgspec.Raw | bytes) -> Any:
        """The value that was stored.

        Raises:
            PayloadError: the stored JSON does not fit the annotation.
        """
        try:
            return self._decode(data)
        except Exception as error:  # a user's class may raise anything on the way
            raise PayloadError(
                f"{self.where}: the value does not fit the annotation {_type_text(self.annotation)}: {error}. {HINT}"
            ) from error


def encode_as_json(value: Any, where: str) -> msgspec.Raw:
    """A value of any type as JSON: nobody here knows as what it will be read, or it is only ever read as JSON.

    Raises:
        PayloadError: it has no JSON form (NaN and infinities have none either), or is larger than LIMIT_BYTES.
    """
    try:
        data = _encode(value)
        msgspec.json.decode(data)
        json.dumps(msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True), allow_nan=False)
    except Exception as error:  # a user's class may raise anything on the way
        raise PayloadError(f"{where}: {_shown(value)} cannot be written as JSON: {error}.") from error
    if len(data) > LIMIT_BYTES:
        raise PayloadError(TOO_LARGE.format(where, len(data), LIMIT_BYTES))
    return msgspec.Raw(data)


HINT = (
    "Use JSON types, dataclasses, msgspec structs, pydantic models, datetime, Decimal, UUID or Enum, "
    "and annotate the parameter or result with the exact type."
)


def _plain(annotation: Any) -> frozenset[Any]:
    if annotation is Any:
        return PLAIN_TYPES
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kinds = frozenset(type(None) if member is None else member for member in members)
    return kinds if kinds <= PLAIN_TYPES else frozenset()


def _same(value: Any, back: Any) -> bool:
    if value is back:
        return True
    try:
        if value == back:
            return type(value) is type(back) or not isinstance(value, (tuple, list, set, frozenset, bool))
        if type(value) is tuple and type(back) is tuple:  # a function's arguments
            return len(value) == len(back) and all(map(_same, value, back))
        # Classes without an __eq__ of their own compare by identity: then their JSON has to agree.
        return (
            type(value) is type(back)
            and type(value).__eq__ is object.__eq__  # type: ignore[comparison-overlap] # inherited, it is the same
            and _encode(value) == _encode(back)
        )
    except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything; then nothing says that the two are the same
        return False


def _encode_hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json", by_alias=True, round_trip=True)
    raise TypeError(f"objects of type {type(value).__qualname__} have no JSON form")


def _decode_hook(annotation: type, stored: Any) -> Any:
    validate = getattr(annotation, "model_validate_json", None)
    if validate is not None:
        return validate(_encode(stored))
    raise TypeError(f"type {_type_text(annotation)} cannot be read from JSON")


_encode = msgspec.json.Encoder(enc_hook=_encode_hook).encode


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<unprintable {type(value).__qualname__}>"
    return text if len(text) <= 200 else text[:200] + "…"


def _type_text(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
