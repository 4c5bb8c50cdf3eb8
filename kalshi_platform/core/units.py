"""Exact units: decimal strings of the exchange to integers and back.

Prices become micro-dollars, sizes hundredths of a contract, times microseconds since 1970. What does not fit exactly
is refused, never rounded; no float is involved. Kept out: anything that knows messages or tables.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from kalshi_platform.core.errors import FrameRejected, Reason

PRICE_DIGITS = 6
SIZE_DIGITS = 2
DOLLAR: int = 10**PRICE_DIGITS
"""One dollar in micro-dollars: the price of a certain yes."""

MAX_SIZE = 10**18 - 1
"""Largest size kept: what DECIMAL(18, 2) and a bigint both hold."""

MILLISECOND = 1_000
SECOND = 1_000_000
"""Microseconds in a millisecond and in a second."""

EARLIEST_TIME = 1_609_459_200 * SECOND
"""2021-01-01, the year in which the exchange opened; an earlier stamp is a defect of the frame."""

FUTURE_TOLERANCE = 86_400 * SECOND
"""An exchange stamp may lie this far after its receipt before it is refused."""

_LONGEST_NUMBER = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _scaled(text: str, digits: int) -> int | None:
    """`text` times ten to the power of `digits`, or None where that is no integer or no plain decimal."""
    unsigned = text[1:] if text[:1] == "-" else text
    whole, _, fraction = unsigned.partition(".")
    fraction = fraction.rstrip("0") if len(fraction) > digits else fraction
    if len(fraction) > digits or len(text) > _LONGEST_NUMBER or not whole:
        return None
    if not text.isascii() or not (whole + fraction).isdigit():
        return None
    value = int(whole + fraction.ljust(digits, "0"))
    return -value if unsigned is not text else value


@lru_cache(maxsize=16_384)  # a market has at most 10,001 prices
def price_from_dollars(text: str) -> int:
    """Dollars as sent ("0.5600") to micro-dollars (560000).

    Raises:
        FrameRejected: With `bad_price` where the text is no decimal, finer than a micro-dollar, or outside 0..1.
    """
    price = _scaled(text, PRICE_DIGITS)
    if price is None or not 0 <= price <= DOLLAR:
        raise FrameRejected(Reason.BAD_PRICE, f"price {text!r} is not a multiple of $0.000001 between 0 and 1")
    return price


@lru_cache(maxsize=65_536)
def size_from_contracts(text: str) -> int:
    """Contracts as sent ("-2.50") to hundredths (-250), signed.

    Raises:
        FrameRejected: With `bad_size` where the text is no decimal, finer than 0.01, or beyond eighteen digits.
    """
    size = _scaled(text, SIZE_DIGITS)
    if size is None or abs(size) > MAX_SIZE:
        raise FrameRejected(Reason.BAD_SIZE, f"size {text!r} is not a multiple of 0.01 contracts within 18 digits")
    return size


def amount_from_contracts(text: str) -> int:
    """Contracts that rest or trade ("2.50") to hundredths (250); like `size_from_contracts`, and never negative."""
    amount = size_from_contracts(text)
    if amount < 0:
        raise FrameRejected(Reason.BAD_SIZE, f"size {text!r} is negative")
    return amount


def dollars_from_price(price: int) -> str:
    """Micro-dollars to the exchange's text: 560000 to "0.5600"; more digits only where needed."""
    whole, fraction = divmod(price, DOLLAR)
    digits = f"{fraction:0{PRICE_DIGITS}d}"
    return f"{whole}.{digits[:4]}{digits[4:].rstrip('0')}"


def contracts_from_size(size: int) -> str:
    """Hundredths of a contract to the exchange's text: -250 to "-2.50"."""
    whole, fraction = divmod(abs(size), 10**SIZE_DIGITS)
    return f"{'-' if size < 0 else ''}{whole}.{fraction:0{SIZE_DIGITS}d}"


def datetime_from_us(time_us: int) -> datetime:
    """Microseconds since 1970 to an aware UTC datetime, exactly."""
    return _EPOCH + time_us * _MICROSECOND


def us_from_datetime(moment: datetime) -> int:
    """An aware datetime to microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def us_from_rfc3339(text: str) -> int:
    """An RFC 3339 stamp ("2026-11-21T00:00:01.034Z") to microseconds since 1970.

    Raises:
        FrameRejected: With `bad_time` where the text is no such stamp or names no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise FrameRejected(Reason.BAD_TIME, f"time {text!r} is not RFC 3339") from error
    if moment.tzinfo is None:
        raise FrameRejected(Reason.BAD_TIME, f"time {text!r} names no time zone")
    return us_from_datetime(moment)
