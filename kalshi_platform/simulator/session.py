"""What one client has subscribed, and how its commands are answered (protocol §3.2, §3.3, §3.6).

No await anywhere: between the composing of a snapshot and the joining of its audience nothing can happen, so the
client gets exactly the deltas that follow its snapshot. Sockets are `websocket`'s business.
"""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from kalshi_platform.simulator import wire
from kalshi_platform.simulator.commands import ERRORS, Command, CommandError, Params, decode
from kalshi_platform.simulator.connection import Connection
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.market import Market, Status
from kalshi_platform.simulator.subscriptions import Channel, Subscription, Wanted

_PUMP_SNAPSHOTS = 500
_PUMP_BYTES = 1024 * 1024


class Limits(NamedTuple):
    """What one client may ask (protocol §3.8)."""

    markets: int = 500_000
    """Market subscriptions of a session; more is error 26."""
    commands_per_second: int = 10_000
    """More is error 27."""


class Markets(Protocol):
    """What a session needs of the exchange."""

    def has(self, ticker: str) -> bool:
        """Whether there is a market with this name."""

    def find(self, ticker: str) -> Market:
        """The market with this name."""

    def introduce(self, market: Market) -> None:
        """Tell the ledger a book whose snapshot somebody is about to get."""

    def ticker_of(self, market_id: str) -> str | None:
        """The name of the market with this UUID."""

    def last_ticker(self, market: Market) -> str | None:
        """The last ticker message of a market, as everybody got it; none if there was none."""


class Session:
    """One client's subscriptions."""

    def __init__(self, connection: Connection, hub: Hub, markets: Markets, limits: Limits | None = None) -> None:
        self._connection = connection
        self._hub = hub
        self._markets = markets
        self._limits = limits or Limits()
        self._second = 0
        self._commands_of_second = 0
        self._by_sid: dict[int, Subscription] = {}
        self._last_sid = 0
        self._commands: dict[str, Callable[[Command], None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "update_subscription": self._update,
            "list_subscriptions": self._list,
        }
        self._actions: dict[str, Callable[[Command, Params, Subscription], None]] = {
            "add_markets": self._add_markets,
            "delete_markets": self._delete_markets,
            "get_snapshot": self._get_snapshot,
        }

    @property
    def connection(self) -> Connection:
        """Where this client's frames go."""
        return self._connection

    def handle(self, text: str) -> None:
        """Answer one message of the client."""
        self._hub.look_at_clock()
        request_id = 0
        try:
            command = decode(text)
            request_id = command.id
            self._count(command)
            self._commands.get(command.cmd, self._unknown)(command)
        except CommandError as error:
            self._refuse(error, request_id)
        self.pump()
        self._connection.flush()

    def _count(self, command: Command) -> None:
        """Refuse a command that is one too many in this second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._commands_of_second = second, 0
        self._commands_of_second += 1
        if self._commands_of_second > self._limits.commands_per_second:
            raise CommandError(27, self._by_sid.get(command.first_sid()))

    def refuse_binary(self) -> None:
        """Answer a message that is not text."""
        self._hub.look_at_clock()
        self._refuse(CommandError(1), 0)
        self._connection.flush()

    def pump(self) -> None:
        """Send snapshots that are due, no faster than the client reads: a subscription may name every market."""
        left = _PUMP_SNAPSHOTS
        for subscription in self._by_sid.values():
            while subscription.wanted and left and self._connection.backlog() < _PUMP_BYTES:
                self._send_wanted(subscription, subscription.wanted.popleft())
                left -= 1

    def end(self, subscription: Subscription, error: int) -> None:
        """End a subscription with an error; the socket and its other subscriptions live on."""
        del self._by_sid[subscription.sid]
        self._hub.close(subscription)
        self._refuse(CommandError(error, subscription), 0)

    def _subscribe(self, command: Command) -> None:
        params = command.required_params()
        channels = params.named_channels()
        params = self._named(params, channels)
        tickers = self._known(params.tickers())
        self._check_room(len(tickers))
        for channel in channels:
            subscription = next((s for s in self._by_sid.values() if s.channel is channel), None)
            if subscription:
                self._widen(subscription, params, tickers)
                self._acknowledge(command, subscription)
            else:
                self._open(channel, command, params, tickers)

    def _named(self, params: Params, channels: list[Channel]) -> Params:
        """The parameters with markets by name, where they were given by UUID: for tickers only."""
        if not params.ids():
            return params
        if channels != [Channel.TICKER]:
            raise CommandError(11)
        found = [self._markets.ticker_of(one) for one in params.ids()]
        # without the ids, no name left would mean every market there is
        return msgspec.structs.replace(params, market_tickers=[*params.tickers(), *(one or "?" for one in found)])

    def _open(self, channel: Channel, command: Command, params: Params, tickers: list[str]) -> None:
        self._last_sid += 1
        yes_priced = params.use_yes_price and channel is Channel.ORDERBOOK
        subscription = Subscription(channel, self._last_sid, self._connection, yes_priced=yes_priced)
        subscription.names_tickers = not params.skip_ticker_ack
        self._by_sid[subscription.sid] = subscription
        self._hub.open(subscription, self)
        self._reply("subscribed", command.id, msg={"channel": channel, "sid": subscription.sid})
        self._widen(subscription, params, tickers)

    def _widen(self, subscription: Subscription, params: Params, tickers: list[str]) -> None:
        """Add markets; without any named, a channel that allows it is about all of them."""
        if subscription.everything:
            return
        if not subscription.channel.takes_markets or not params.tickers():
            self._hub.audience(subscription).join_all(subscription)
            subscription.everything = True
            subscription.tickers.clear()
            return
        new = [ticker for ticker in tickers if ticker not in subscription.tickers]
        subscription.tickers.update(dict.fromkeys(new))
        if subscription.channel is Channel.ORDERBOOK:
            subscription.wanted.extend(Wanted(ticker, None) for ticker in new)
        else:
            self._hub.audience(subscription).join(subscription, new)
        if subscription.channel is Channel.TICKER and params.send_initial_snapshot:
            subscription.wanted.extend(Wanted(ticker, None) for ticker in new)

    def _unsubscribe(self, command: Command) -> None:
        sids = command.required_params().sids
        if not sids:
            raise CommandError(4)
        if not self._by_sid.keys() >= set(sids):
            raise CommandError(7)
        for sid in dict.fromkeys(sids):
            subscription = self._by_sid.pop(sid)
            self._hub.close(subscription)
            self._reply("unsubscribed", command.id, subscription)

    def _update(self, command: Command) -> None:
        params = command.required_params()
        subscription = self._by_sid.get(params.only_sid())
        if subscription is None:
            raise CommandError(7)
        if not params.action:
            raise CommandError(15, subscription)
        if params.action not in self._actions or not subscription.channel.takes_markets:
            raise CommandError(13, subscription)
        self._actions[params.action](command, params, subscription)

    def _add_markets(self, command: Command, params: Params, subscription: Subscription) -> None:
        params = self._named(params, [subscription.channel])
        if not params.tickers():
            raise CommandError(14, subscription)
        tickers = self._known(params.tickers())
        self._check_room(len(tickers), subscription)
        self._widen(subscription, params, tickers)
        self._acknowledge(command, subscription)

    def _delete_markets(self, command: Command, params: Params, subscription: Subscription) -> None:
        params = self._named(params, [subscription.channel])
        if not params.tickers():
            raise CommandError(14, subscription)
        self._hub.audience(subscription).leave(subscription, params.tickers())
        for ticker in params.tickers():
            subscription.tickers.pop(ticker, None)
        self._acknowledge(command, subscription)

    def _get_snapshot(self, command: Command, params: Params, subscription: Subscription) -> None:
        """Queue snapshots; the markets need not be subscribed, and an empty list is answered by silence."""
        if subscription.channel is not Channel.ORDERBOOK:
            raise CommandError(13, subscription)
        if params.market_tickers is None:
            raise CommandError(14, subscription)
        tickers = self._known(params.tickers())
        self._check_room(len(tickers), subscription)
        subscription.wanted.extend(Wanted(ticker, command.id) for ticker in tickers)

    def _unknown(self, _: Command) -> None:
        raise CommandError(5)

    def _list(self, command: Command) -> None:
        self._reply("ok", command.id, msg=[{"channel": s.channel, "sid": s.sid} for s in self._by_sid.values()])

    def _known(self, tickers: list[str]) -> list[str]:
        """Markets that exist: an unknown one is no error (code 16 is retired), and can be asked for again later."""
        return [ticker for ticker in tickers if self._markets.has(ticker)]

    def _check_room(self, more: int, subscription: Subscription | None = None) -> None:
        held = sum(max(len(s.tickers), len(s.wanted)) for s in self._by_sid.values())
        if held + more > self._limits.markets:
            raise CommandError(26, subscription)

    def _send_wanted(self, subscription: Subscription, wanted: Wanted) -> None:
        market = self._markets.find(wanted.ticker)
        if subscription.channel is Channel.TICKER:
            self._send_ticker(subscription, market)
            return
        if wanted.request_id is None:
            audience = self._hub.audience(subscription)
            if wanted.ticker not in subscription.tickers or audience.has(subscription, wanted.ticker):
                return  # taken back, or named again, before it was its turn
            audience.join(subscription, (wanted.ticker,))
            if market.status is Status.FINALIZED:
                return  # subscribing to a settled market succeeds and streams nothing
        self._markets.introduce(market)
        text = wire.snapshot(market, yes_priced=subscription.yes_priced)
        self._reply("orderbook_snapshot", wanted.request_id or 0, subscription, msgspec.Raw(text.encode()))

    def _send_ticker(self, subscription: Subscription, market: Market) -> None:
        """What a follower of this market heard last, for one that has just come."""
        text = self._markets.last_ticker(market)
        if text and market.ticker in subscription.tickers:
            self._reply("ticker", 0, subscription, msgspec.Raw(text.encode()))

    def _acknowledge(self, command: Command, subscription: Subscription) -> None:
        message = {"market_tickers": list(subscription.tickers)} if subscription.names_tickers else {}
        self._reply("ok", command.id, subscription, message)

    def _refuse(self, error: CommandError, request_id: int) -> None:
        message = {"code": error.code, "msg": ERRORS[error.code]}
        self._reply("error", request_id, error.subscription, message)

    def _reply(self, kind: str, request_id: int, subscription: Subscription | None = None, msg: object = None) -> None:
        """Queue one message; one that concerns a subscription takes a number of its sequence."""
        reply: dict[str, object] = {"id": request_id} if request_id else {}
        reply["type"] = kind
        if subscription:
            reply["sid"] = subscription.sid
            seq = subscription.next_seq()
            if seq is not None:
                reply["seq"] = seq
        reply["sending_ts_ms"] = self._hub.sending_ms
        if msg is not None:
            reply["msg"] = msg
        self._hub.answered(self._connection, subscription)
        self._connection.send(msgspec.json.encode(reply))
