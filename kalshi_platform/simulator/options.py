"""Every choice that a run of the simulator takes, in one frozen object.

Here belong defaults, their meaning and what is refused. The command line and the environment are not read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kalshi_platform.simulator.faults import FaultOptions
from kalshi_platform.simulator.pauses import Pause
from kalshi_platform.simulator.rest_options import RestOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How one simulated exchange behaves."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless somebody asks for more."""

    port: int = 0
    """Port of REST and WebSocket alike; 0 takes a free one."""

    ready_file: Path | None = None
    """Where the port is written (atomically, as decimal text) once the exchange answers."""

    keys: Mapping[str, Path] = field(default_factory=dict)
    """API key id → PEM file of its public key, RSA or Ed25519. Without any, no WebSocket opens."""

    compression: bool = False
    """Whether a client that offers permessage-deflate gets its messages compressed; about 15 µs a message."""

    subscription_markets: int = 500_000
    """Markets that the subscriptions of one connection may name together; more is error 26."""

    commands_per_second: int = 10_000
    """Commands of one connection in one second; more is error 27."""

    connection_cap: int = 200
    """WebSocket connections per API key; the next one gets HTTP 429."""

    markets: int = 100
    """Markets that are open when the exchange starts."""

    combos: int = 0
    """Combos (`KXMVE…`) that are open when the exchange starts, besides the markets."""

    busy_markets: int = 20_000
    """Of these, how many the traffic ever touches: the rest stand still and cost no memory."""

    rate: float = 500.0
    """Deltas, trades and tickers per second in total; 0 is an exchange without traffic."""

    swing: float = 1.0
    """How much busy and quiet seconds differ: 1 is as recorded, less where many markets share the rate; 0 is steady."""

    trading: float = 1.0
    """How much is traded: 1 is as recorded, where one change in fifty-five is a trade; more for tests of trades."""

    seed: int = 1
    """Fixes the names, the books and the sequence of everything that happens; only the clock is real."""

    seconds: float = 0.0
    """How long the traffic lasts; 0 is until it is told to stop. Sockets and REST stay up afterwards."""

    ledger: Path | None = None
    """NDJSON file that receives everything that was sent; without it only counts are kept."""

    time_scale: float = 1.0
    """Seconds of the exchange per real second: traffic, stamps, openings, closings and pauses run so much faster."""

    start_ms: int | None = None
    """The exchange's time at the start, in milliseconds since 1970; the real one unless given."""

    market_life_hours: float = 0.0
    """Markets close at a quarter of an hour, at most so many hours after their listing; 0 is after 1 to 30 days."""

    maintenance: bool = False
    """Whether nothing trades on Thursdays from 03:00 to 05:00 in New York, which begins with closing every socket."""

    pauses: tuple[Pause, ...] = ()
    """Other times at which nothing trades."""

    replay: Path | None = None
    """A recorded file, or a folder of them, served instead of invented traffic."""

    replay_speed: float = 1.0
    """Seconds of the recording per second; infinite is as fast as the clients read."""

    replay_wait_seconds: float = 1.0
    """The tape begins when somebody has subscribed and nobody has since for so long; infinite is when told to."""

    new_market_seconds: float = 10.0
    """Average time between two new markets, at the asked rate; 0 is never."""

    close_market_seconds: float = 45.0
    """Average time between two closing markets, at the asked rate; 0 is never."""

    new_combo_seconds: float = 0.0
    """Average time between two new combos (`KXMVE…`), at the asked rate; 0 is never."""

    change_market_seconds: float = 30.0
    """Average time between the rarer events: pause and return, another close date, grid, title or fee; 0 is never."""

    silent_share: float = 0.3
    """Share of new markets that open later and without a message, with an empty book."""

    rest_delay_seconds: float = 0.3
    """How long a new market, already announced on sockets, is still 404 on REST."""

    activity_skew: float = 1.0
    """Exponent of the Zipf law by which markets share the traffic; 0 makes them equal."""

    tick_ms: int = 5
    """Traffic is made and sent in batches this far apart."""

    heartbeat_seconds: float = 10.0
    """Time between the pings with payload `heartbeat`."""

    send_buffer_bytes: int = 16 * 1024 * 1024
    """Unsent bytes that a connection may pile up; beyond it a subscription that wants to send dies with error 25."""

    recent_trades: int = 100_000
    """Trades that REST remembers."""

    faults: FaultOptions = field(default_factory=FaultOptions)
    """What goes wrong on purpose on the sockets."""

    rest: RestOptions = field(default_factory=RestOptions)
    """Rate limits, caching, the historical cutoff and faults of REST."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: names the field and what it accepts.
        """
        for name in (
            "markets",
            "busy_markets",
            "connection_cap",
            "tick_ms",
            "send_buffer_bytes",
            "recent_trades",
            "subscription_markets",
            "commands_per_second",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in (
            "rate",
            "swing",
            "trading",
            "seconds",
            "new_market_seconds",
            "close_market_seconds",
            "new_combo_seconds",
            "change_market_seconds",
            "silent_share",
            "rest_delay_seconds",
            "activity_skew",
            "market_life_hours",
            "combos",
            "replay_wait_seconds",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")
        for name in ("heartbeat_seconds", "time_scale", "replay_speed"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must lie in 0..65535, not {self.port}")
