"""What a session tells: one small fact per thing that happened. Kept out: when it happens (session)."""

from dataclasses import dataclass

from kalshi_platform.core.messages import Frame
from kalshi_platform.core.sequence import SequenceBreak


@dataclass(frozen=True, slots=True)
class Heard:
    """A data frame that stands in its place: to be recorded."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Late:
    """A data frame that fills a hole: to be recorded, but no book may believe it any more.

    Since the hole was found every book waits for a snapshot, and what the snapshot shows has this change in it.
    """

    frame: Frame


@dataclass(frozen=True, slots=True)
class Started:
    """A new subscription serves the channel; whatever was known from an older one has ended."""

    channel: str
    sid: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames are missing before this one: nothing known of the subscription's books is certain any more."""

    channel: str
    sid: int
    found: SequenceBreak
    markets: int


@dataclass(frozen=True, slots=True)
class OutOfSequence:
    """A frame whose number had passed already: recording it could count a change twice."""

    channel: str
    sid: int
    found: SequenceBreak


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A frame that its subscription does not send, or of a subscription that nobody knows: not to be believed."""

    sid: int
    detail: str


@dataclass(frozen=True, slots=True)
class Missed:
    """A frame that stood in its place could not be read: one market's book, or with None every book, is in doubt."""

    channel: str
    sid: int
    ticker: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A subscription has ended; a new one is asked for. The code is the exchange's, or 0 where it sent none."""

    channel: str
    sid: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The exchange refused a command.

    Attributes:
        code: The exchange's.
        text: The exchange's.
        tickers: Markets that this connection will not follow because of it.
    """

    code: int
    text: str
    tickers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A command got no reply in time.

    Attributes:
        name: The command.
        attempt: How often it was sent.
        is_hopeless: Whether it is not sent again and the connection should be made anew.
    """

    name: str
    attempt: int
    is_hopeless: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """A subscription has been silent for longer than its rhythm explains; a new one is asked for."""

    channel: str
    sid: int


Event = Heard | Late | Started | Gap | OutOfSequence | Misplaced | Missed | Ended | Refused | Unanswered | Stale
