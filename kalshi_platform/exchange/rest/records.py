"""How a REST answer becomes typed records without losing what nobody expected.

JSON numbers with a point become Decimal, never float. A field the record does not know lands in its `extra`; null is
the same as absent. Kept out: which fields the exchange's objects have (`objects`).
"""

from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec

_EXTRA = " extra"  # no JSON key of the exchange begins with a space, so nothing it sends can be mistaken for it

_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of everything REST answers with; `extra` holds the fields that the class does not name, as decoded."""

    extra: dict[str, Any] = msgspec.field(default_factory=dict, name=_EXTRA)


Kind = TypeVar("Kind", bound=Record)


class _Child(NamedTuple):
    key: str
    kind: type[Record]
    is_list: bool


class _Plan(NamedTuple):
    known: frozenset[str]
    children: tuple[_Child, ...]


def decode(body: bytes) -> Any:
    """A JSON body as plain Python, exact.

    Raises:
        msgspec.DecodeError: Not JSON.
    """
    return _decoder.decode(body)


def read_page(body: bytes, key: str, kind: type[Kind]) -> tuple[list[Kind], str | None]:
    """The records of a page, and its cursor; None after the last.

    Straight into records where the exchange sends what is documented, which takes a third of the time; the first
    field that nobody expected ends that attempt.

    Raises:
        msgspec.DecodeError: Not JSON.
        msgspec.ValidationError: As `to_record`.
        KeyError: It has no such list.
    """
    try:
        page = _page_decoder(key, kind).decode(body)
    except msgspec.ValidationError:
        raw = decode(body)
        return to_records(raw[key], kind), raw.get("cursor") or None
    return page.rows, page.cursor or None


def to_raw(record: Record) -> dict[str, Any]:
    """A record as it was sent, unknown fields among the known ones; lists are tuples, what is empty is left out."""
    raw: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(Decimal,))
    _unfold(raw, type(record))
    return raw


def to_record(raw: Any, kind: type[Kind]) -> Kind:
    """One decoded object as a record; `raw` is consumed.

    Raises:
        msgspec.ValidationError: A field is missing or has another type than the exchange documents.
    """
    _fold(raw, kind)
    return msgspec.convert(raw, kind)


def to_records(raw: Any, kind: type[Kind]) -> list[Kind]:
    """A decoded list as records; null is an empty list.

    Raises:
        msgspec.ValidationError: As `to_record`.
    """
    if raw is None:
        return []
    for one in raw if isinstance(raw, list) else ():
        _fold(one, kind)
    return msgspec.convert(raw, list[kind])  # type: ignore[valid-type]


def _fold(raw: Any, kind: type[Record]) -> None:
    if not isinstance(raw, dict):
        return  # convert will say what is wrong
    plan = _plan(kind)
    if None in raw.values():
        for key in [key for key, value in raw.items() if value is None]:
            del raw[key]
    if not raw.keys() <= plan.known:
        raw[_EXTRA] = {key: raw.pop(key) for key in sorted(raw.keys() - plan.known)}
    for child in plan.children:
        value = raw.get(child.key)
        for one in (value if isinstance(value, list) else ()) if child.is_list else (value,):
            _fold(one, child.kind)


def _unfold(raw: dict[str, Any], kind: type[Record]) -> None:
    raw.update(raw.pop(_EXTRA, {}))
    for child in _plan(kind).children:
        value = raw.get(child.key)
        for one in value if child.is_list and value else filter(None, (value,)):
            _unfold(one, child.kind)


@cache
def _page_decoder(key: str, kind: type[Record]) -> msgspec.json.Decoder[Any]:
    fields: list[Any] = [("rows", list[kind]), ("cursor", str | None, None)]  # type: ignore[valid-type]
    page = msgspec.defstruct("_Page", fields, rename={"rows": key})
    return msgspec.json.Decoder(page, float_hook=Decimal)


@cache
def _plan(kind: type[Record]) -> _Plan:
    fields = msgspec.structs.fields(kind)
    found = (_child(field.encode_name, field.type) for field in fields)
    return _Plan(frozenset(field.encode_name for field in fields), tuple(child for child in found if child))


def _child(key: str, type_: Any) -> _Child | None:
    for one in (type_, *get_args(type_)):
        if isinstance(one, type) and issubclass(one, Record):
            is_list = get_origin(type_) is tuple
            return _Child(key, one, is_list)
    return None
