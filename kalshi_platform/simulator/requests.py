"""Query parameters read and refused, answers and error bodies written: what every REST endpoint shares.

The bodies are those that the demo exchange was recorded to send, where one was recorded.
"""

import base64
import binascii
from collections.abc import Mapping

import msgspec
from aiohttp import web

TOO_MANY_REQUESTS = b'{"error":"too many requests"}'
"""Here `error` is a text, unlike everywhere else (protocol §2.1)."""


class BadRequestError(Exception):
    """A request that is answered with 400 and this body."""

    def __init__(self, body: object) -> None:
        super().__init__(str(body))
        self.body = body


class NotFoundError(Exception):
    """Something was asked for that the exchange does not list."""


NOT_FOUND_BODY = {"error": {"code": "not_found", "message": "not found"}}


def answer(body: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return answer_bytes(msgspec.json.encode(body), status)


def answer_bytes(body: bytes, status: int) -> web.Response:
    """A JSON answer that is encoded already."""
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def read_limit(query: Mapping[str, str], endpoint: str, *, most: int, usual: int) -> int:
    """Read `limit`; too much is refused in the words of the exchange's validator, not clamped.

    Raises:
        BadRequestError: not a number, or outside what the endpoint allows.
    """
    limit = read_integer(query, "limit", usual)
    if limit > most:
        raise _failed_validation(endpoint, "Limit", "lte")
    if limit < 0:
        raise _failed_validation(endpoint, "Limit", "gte")
    return limit or usual


def read_integer(query: Mapping[str, str], name: str, usual: int) -> int:
    """Read a whole number.

    Raises:
        BadRequestError: it is none.
    """
    text = query.get(name, "")
    if not text:
        return usual
    try:
        return int(text)
    except ValueError as error:
        raise invalid_parameter(f"{name} must be a whole number") from error


def read_flag(query: Mapping[str, str], name: str) -> bool | None:
    """Read a truth value; None where it is not given.

    Raises:
        BadRequestError: neither true nor false.
    """
    text = query.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise invalid_parameter(f"{name} must be true or false")
    return {"": None, "true": True, "false": False}[text]


def read_names(query: Mapping[str, str], name: str) -> frozenset[str] | None:
    """Read a comma-separated list of names; None where it is not given."""
    text = query.get(name, "")
    return frozenset(text.split(",")) if text else None


def read_cursor(query: Mapping[str, str]) -> int | None:
    """Read the place from which a page continues.

    Raises:
        BadRequestError: not one of ours.
    """
    text = query.get("cursor", "")
    if not text:
        return None
    try:
        return int(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise invalid_parameter("invalid cursor") from error


def write_cursor(place: int | None) -> str:
    """Write a place opaquely; the last page has an empty cursor."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def invalid_parameter(details: str) -> BadRequestError:
    """A parameter with an impossible value."""
    return BadRequestError(
        {"error": {"code": "invalid_parameters", "message": "invalid parameters", "details": details}}
    )


def _failed_validation(endpoint: str, field: str, rule: str) -> BadRequestError:
    return BadRequestError(
        {
            "msg": f"Parameter validation failed for {endpoint}: Key: '{endpoint}Params.{field}' "
            f"Error:Field validation for '{field}' failed on the '{rule}' tag"
        }
    )
