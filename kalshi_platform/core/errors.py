"""Every error of the platform, in one tree.

PlatformError
├── FrameRejected         a frame that cannot be used; it goes to the quarantine with its reason
├── ConfigurationError    a setting, key or file is missing or wrong; a person must act
├── ExchangeError         the exchange answered with an error
│   ├── ExchangeUnavailable   worth another try later
│   └── ExchangeRefused       will be refused again: credentials, clock, address
└── IntegrityError        two things that must agree do not; never papered over

Rooms add their own leaves below PlatformError. Errors carry what happened and what to do next; never a secret.
"""

from enum import StrEnum


class PlatformError(Exception):
    """Base of all errors that the platform raises on purpose."""


class Reason(StrEnum):
    """Why a frame was rejected."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_SHAPE = "wrong_shape"
    BAD_PRICE = "bad_price"
    BAD_SIZE = "bad_size"
    BAD_TIME = "bad_time"
    BAD_TRADE_ID = "bad_trade_id"
    BAD_TICKER = "bad_ticker"
    BAD_SIDE = "bad_side"
    OUT_OF_SEQUENCE = "out_of_sequence"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    REFUSED_BY_DATABASE = "refused_by_database"


class FrameRejected(PlatformError):  # noqa: N818 - named after what happened to the frame
    """A frame that cannot be used.

    Attributes:
        reason: Short code, also the metric label.
        detail: What exactly did not fit.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ConfigurationError(PlatformError):
    """A setting, key or file is missing or wrong; the text says which and what to do."""


class ExchangeError(PlatformError):
    """The exchange answered with an error."""


class ExchangeUnavailable(ExchangeError):  # noqa: N818 - reads as a sentence where it is caught
    """The exchange cannot answer now; the same request may succeed later."""


class ExchangeRefused(ExchangeError):  # noqa: N818 - reads as a sentence where it is caught
    """The exchange refuses this request and will refuse it again."""


class IntegrityError(PlatformError):
    """Two things that must agree do not."""
