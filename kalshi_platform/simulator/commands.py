"""What a client may send, decoded and refused by the exchange's error table (protocol §3.2, §3.3).

Only shapes are known here; what a command does is `session`'s business.
"""

import msgspec

from kalshi_platform.simulator.subscriptions import Channel, Subscription

ERRORS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
}


class CommandError(Exception):
    """A command that the exchange answers with an error."""

    def __init__(self, code: int, subscription: Subscription | None = None) -> None:
        super().__init__(ERRORS[code])
        self.code = code
        self.subscription = subscription


class Params(msgspec.Struct, frozen=True):
    """Every parameter that this exchange looks at; others are ignored, as there."""

    channels: list[str] = []
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    market_id: str | None = None
    market_ids: list[str] | None = None
    send_initial_snapshot: bool = False
    sid: int | None = None
    sids: list[int] | None = None
    action: str = ""
    use_yes_price: bool = False
    skip_ticker_ack: bool = False

    def tickers(self) -> list[str]:
        """The named markets, each once, in the order given."""
        single = [self.market_ticker] if self.market_ticker else []
        return list(dict.fromkeys(single + (self.market_tickers or [])))

    def ids(self) -> list[str]:
        """The markets that are named by their UUID."""
        return ([self.market_id] if self.market_id else []) + (self.market_ids or [])

    def named_channels(self) -> list[Channel]:
        """The channels to subscribe, each once.

        Raises:
            CommandError: none were named, one does not exist, or the order book was asked for without markets.
        """
        if not self.channels:
            raise CommandError(3)
        if not set(self.channels) <= set(Channel):
            raise CommandError(8)
        channels = [Channel(name) for name in dict.fromkeys(self.channels)]
        if Channel.ORDERBOOK in channels and not self.tickers():
            raise CommandError(14)
        return channels

    def only_sid(self) -> int:
        """The one subscription that an update is about.

        Raises:
            CommandError: none or several were named.
        """
        named = ([self.sid] if self.sid is not None else []) + (self.sids or [])
        if len(named) != 1:
            raise CommandError(12)
        return named[0]


class Command(msgspec.Struct, frozen=True):
    """One message of a client; an id of 0 is no id."""

    id: int = 0
    cmd: str = ""
    params: Params | None = None

    def first_sid(self) -> int:
        """The first subscription that it names; 0 if it names none."""
        params = self.params or Params()
        named = ([params.sid] if params.sid is not None else []) + (params.sids or [])
        return named[0] if named else 0

    def required_params(self) -> Params:
        """The parameters of a command that cannot do without.

        Raises:
            CommandError: there are none.
        """
        if self.params is None:
            raise CommandError(2)
        return self.params


_DECODER = msgspec.json.Decoder(Command)


def decode(text: str) -> Command:
    """Read one message.

    Raises:
        CommandError: it is not JSON, or something in it has the wrong type.
    """
    try:
        return _DECODER.decode(text)
    except msgspec.MsgspecError as error:
        raise CommandError(1) from error
