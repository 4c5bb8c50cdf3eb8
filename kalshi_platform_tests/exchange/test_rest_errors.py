"""The four shapes of refusal, and what becomes of them."""

import pytest

from kalshi_platform.core.errors import ExchangeRefused, ExchangeUnavailable
from kalshi_platform.exchange.rest.errors import ErrorBody, NotFound, RateLimited, error_of, read_error

VALIDATION = (
    b'{"msg":"Parameter validation failed for GetMarkets: Key: \'GetMarketsParams.Limit\' Error:Field validation '
    b"for 'Limit' failed on the 'lte' tag\"}"
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":{"code":"a","message":"b","details":"c"}}', ErrorBody("a", "b", "c")),
        (b'{"error":{"code":"a","message":"b"}}', ErrorBody("a", "b", "")),
        (b'{"code":"a","details":"NOT_FOUND"}', ErrorBody("a", "", "NOT_FOUND")),
        (b'{"error":"too many requests"}', ErrorBody("", "too many requests", "")),
        (b"<html>bad gateway</html>", ErrorBody("", "<html>bad gateway</html>", "")),
        (b"[1]", ErrorBody("", "[1]", "")),
        (b"\xff", ErrorBody("", "\ufffd", "")),
        (b'{"error":"\xe9"}', ErrorBody("", '{"error":"\ufffd"}', "")),
        (b"[" * 2000, ErrorBody("", "[" * 200, "")),
        (b'{"error":null}', ErrorBody("", "None", "")),
    ],
)
def test_every_shape_is_read(body: bytes, expected: ErrorBody) -> None:
    """Whatever comes, there is something to show and nothing to stumble over."""
    assert read_error(body) == expected


def test_a_failed_validation_is_read() -> None:
    """It stands under `msg`, as the demo exchange was recorded to send it."""
    assert read_error(VALIDATION).message.startswith("Parameter validation failed for GetMarkets")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ExchangeRefused),
        (401, ExchangeRefused),
        (404, NotFound),
        (429, RateLimited),
        (500, ExchangeUnavailable),
        (501, ExchangeRefused),
        (503, ExchangeUnavailable),
        (522, ExchangeUnavailable),
    ],
)
def test_only_what_may_pass_is_worth_another_attempt(status: int, kind: type[Exception]) -> None:
    """The status decides; the text says what was asked and what was said."""
    error = error_of("/markets", status, b'{"error":{"code":"a","message":"a","details":"why"}}')
    assert type(error) is kind
    assert str(error).startswith(f"GET /markets answered {status}: a: why")
