"""Every setting, read once, in `main`, from the environment (prefix KALSHI_) and `.env`.

Here belong names, defaults and meanings; a test compares them with the README. Kept out: reading the environment
anywhere else.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.masking import masked

PREFIX = "KALSHI_"
MOST_ROWS = 100_000
MINUTE_MS = 60_000
_ENV_FILE = ".env"


class Settings(BaseSettings):
    """All settings of all commands; each command asks for those that it needs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=_ENV_FILE,
        env_ignore_empty=True,  # `NAME=` in a file is a setting that nobody filled in
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    rest_url: str = Field("https://external-api.kalshi.com/trade-api/v2", description="The exchange's REST address.")
    ws_url: str = Field(
        "wss://external-api-ws.kalshi.com/trade-api/ws/v2", description="The exchange's WebSocket address."
    )
    api_key_id: str | None = Field(None, description="API key id; every socket needs one.")
    private_key_path: Path | None = Field(None, description="PEM file of the key, RSA or Ed25519.")
    gatherer_id: str = Field("gatherer-1", description="Name of this gatherer; each has its own.")
    gatherer_database_url: SecretStr | None = Field(None, description="PostgreSQL of this gatherer.")
    gatherers: SecretStr | None = Field(
        None, description="For the deduplicator: `gatherer-1=postgresql://…,gatherer-2=postgresql://…`."
    )
    production_database_url: SecretStr | None = Field(None, description="PostgreSQL that holds the merged record.")
    catalogue_database_url: SecretStr | None = Field(
        None,
        description="The same database for what Dagster fetches over REST: a member of kalshi_catalogue, and of "
        "kalshi_dedup for missed trades; KALSHI_PRODUCTION_DATABASE_URL where not set.",
    )
    owners_database_url: SecretStr | None = Field(
        None,
        description="The same database as the tables' owner, for Dagster's nightly retention; not set: "
        "`kalshi-platform maintain` is run otherwise.",
    )
    lake_url: str = Field("lake", description="Root of the Parquet lake: a folder, or s3://bucket/prefix.")
    ticker_connections: int = Field(2, ge=0, description="Connections on the ticker channel; all hear every market.")
    trade_connections: int = Field(2, ge=0, description="Connections on the trade channel; all hear every market.")
    lifecycle_connections: int = Field(2, ge=0, description="Connections that hear markets come and go.")
    orderbook_connections: int = Field(144, ge=1, description="Connections over which order books are spread.")
    markets_per_connection: int = Field(7500, ge=1, description="Most order books on one connection.")
    handshakes_per_second: float = Field(
        20.0, gt=0, description="New connections a second at the most, so that an outage does not end in a storm."
    )
    include_multivariate: bool = Field(
        default=False, description="Whether to follow combos (KXMVE…), which dominate the list."
    )
    reconcile_seconds: float = Field(
        300.0, ge=1, description="Time between two walks over the exchange's whole list of markets."
    )
    snapshot_seconds: float = Field(
        900.0,
        ge=0,
        description="Time between two rounds of snapshots of every book, compared with the live ones; 0 is never.",
    )
    checkpoint_seconds: int = Field(3600, ge=1, description="Interval of the exchange's clock at which books are kept.")
    settle_seconds: float = Field(
        5.0, ge=0, description="How late a message may come: checkpoints and watermarks wait for it."
    )
    trades_batch_rows: int = Field(1000, ge=1, le=MOST_ROWS, description="Trades that are written at once.")
    trades_flush_ms: int = Field(100, ge=1, le=MINUTE_MS, description="How long a trade waits for others at the most.")
    deltas_batch_rows: int = Field(5000, ge=1, le=MOST_ROWS, description="Order book changes that are written at once.")
    deltas_flush_ms: int = Field(50, ge=1, le=MINUTE_MS, description="How long a change waits for others at the most.")
    tickers_batch_rows: int = Field(1000, ge=1, le=MOST_ROWS, description="Ticker updates that are written at once.")
    tickers_flush_ms: int = Field(
        100, ge=1, le=MINUTE_MS, description="How long a ticker update waits for others at the most."
    )
    snapshots_batch_rows: int = Field(100, ge=1, le=MOST_ROWS, description="Whole books that are written at once.")
    snapshots_flush_ms: int = Field(
        1000, ge=1, le=MINUTE_MS, description="How long a whole book waits for others at the most."
    )
    spool_directory: Path = Field(
        Path("kalshi-data/spool"),
        description="Where a gatherer keeps, in a folder of its name, what its database does not take.",
    )
    spool_bytes: int = Field(
        10 * 2**30, ge=2**20, description="Size of that spool at the most; when it is full, reading waits."
    )
    deduplicator_shard: str = Field(
        "1/1",
        description="Which part of the tickers this deduplicator merges, of how many: `2/3`; `1/1` is everything.",
    )
    trades_sync_ms: int = Field(
        100, ge=1, le=MINUTE_MS, description="Pause of the deduplicator when there were few trades to merge."
    )
    trades_sync_rows: int = Field(10_000, ge=1, le=MOST_ROWS, description="Trades that are merged at once.")
    deltas_sync_ms: int = Field(
        100, ge=1, le=MINUTE_MS, description="Its pause when there were few order book changes to merge."
    )
    deltas_sync_rows: int = Field(50_000, ge=1, le=MOST_ROWS, description="Order book changes that are merged at once.")
    tickers_sync_ms: int = Field(
        100, ge=1, le=MINUTE_MS, description="Its pause when there were few ticker updates to merge."
    )
    tickers_sync_rows: int = Field(10_000, ge=1, le=MOST_ROWS, description="Ticker updates that are merged at once.")
    snapshots_sync_ms: int = Field(
        1000, ge=1, le=MINUTE_MS, description="Its pause when there were few whole books, sessions or gaps to merge."
    )
    snapshots_sync_rows: int = Field(5000, ge=1, le=MOST_ROWS, description="Whole books that are merged at once.")
    questdb: SecretStr | None = Field(
        None,
        description="QuestDB as a second home of the streams: `http::addr=host:9000;`; off unless set.",
    )
    questdb_rows: int = Field(
        200_000, ge=10_000, description="Rows that may wait for QuestDB; beyond, the oldest are given up and counted."
    )
    silence_seconds: float = Field(
        60.0, gt=0, description="A gatherer not heard of for so long stops holding back the watermark."
    )
    horizon_seconds: float = Field(
        60.0,
        gt=0,
        description="How long one transaction may hold back what a gatherer wrote before `/health` fails.",
    )
    lag_warn_seconds: float = Field(
        120.0, gt=0, description="How far production may be behind the exchange before Dagster warns."
    )
    lag_error_seconds: float = Field(
        900.0, gt=0, description="How far it may be behind before Dagster calls it an error."
    )
    late_rows_days: int = Field(
        7, ge=1, description="How many days back Dagster looks for rows that were merged after their file was written."
    )
    alert_slack_url: SecretStr | None = Field(
        None, description="Slack webhook (or one that takes the same) that Dagster's alerts go to."
    )
    alert_pagerduty_key: SecretStr | None = Field(
        None, description="PagerDuty routing key (Events API v2) that errors go to; warnings do not."
    )
    alert_pagerduty_url: str = Field(
        "https://events.pagerduty.com/v2/enqueue", description="Where PagerDuty takes events."
    )
    alert_smtp_url: SecretStr | None = Field(
        None, description="Mail server for alerts: `smtp://user:password@host:587`, or `smtps://…` for TLS at once."
    )
    alert_email_from: str = Field("kalshi-platform@localhost", description="Sender of alerts by mail.")
    alert_email_to: str = Field("", description="Who gets alerts by mail, separated by commas.")
    metrics_host: str = Field("127.0.0.1", description="Address of `/metrics` and `/health`.")
    metrics_port: int = Field(9090, ge=0, le=65535, description="Port of `/metrics` and `/health`; 0 picks a free one.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Log lines: json for machines, text for people, auto asks the terminal."
    )

    def required(self, name: str) -> str:
        """A setting that this command cannot do without, as text.

        Raises:
            ConfigurationError: Where it is not set.
        """
        value = getattr(self, name)
        if value is None:
            raise ConfigurationError(
                f"{PREFIX}{name.upper()} is not set: {type(self).model_fields[name].description} "
                "`kalshi-platform settings` shows all settings."
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    def gatherer_urls(self) -> dict[str, str]:
        """The deduplicator's sources: gatherer id to database URL, in the order given.

        Raises:
            ConfigurationError: Where the setting is missing or not of the form `id=url,id=url`.
        """
        urls: dict[str, str] = {}
        for part in filter(None, self.required("gatherers").split(",")):
            name, separator, url = part.strip().partition("=")
            if not separator or not name or "://" not in url or name in urls:
                raise ConfigurationError(
                    f"{PREFIX}GATHERERS must read `gatherer-1=postgresql://…,gatherer-2=…`, each name once"
                )
            urls[name] = url
        if not urls:
            raise ConfigurationError(f"{PREFIX}GATHERERS names no gatherer")
        return urls


OTHER_NAMES = frozenset({"KALSHI_MIGRATE_URL", "KALSHI_DAGSTER_DATABASE_URL"})
"""Variables with our prefix that are no settings: an option's of `migrate`, and dagster.yaml's."""

_TESTS = f"{PREFIX}TEST_"


def unknown_names() -> list[str]:
    """Variables with our prefix, in the environment or `.env`, that nobody reads: a setting misspelt, most likely."""
    known = OTHER_NAMES | {PREFIX + field.upper() for field in Settings.model_fields}
    given = {name.upper() for name in (*os.environ, *_in_file())}
    return sorted(name for name in given - known if name.startswith(PREFIX) and not name.startswith(_TESTS))


def env_file() -> Path:
    """The file that settings are read from, besides the environment; it may be absent."""
    return Path(_ENV_FILE)


def _in_file() -> dict[str, str | None]:
    return dotenv_values(_ENV_FILE) if Path(_ENV_FILE).is_file() else {}


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: Where a value does not fit; secrets are never repeated.
    """
    try:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{_ENV_FILE} cannot be read: {error}") from None
    except ValidationError as error:
        problems = "; ".join(f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(f"settings do not fit: {problems}") from None


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting as people may see it: secrets masked."""

    name: str
    value: str
    default: str
    source: str
    meaning: str


def describe(settings: Settings) -> list[SettingLine]:
    """Every setting with its value, default, source and meaning."""
    in_file = _in_file()
    lines = []
    for field, info in Settings.model_fields.items():
        name = PREFIX + field.upper()
        source = "environment" if os.environ.get(name) else _ENV_FILE if in_file.get(name) else "default"
        lines.append(
            SettingLine(name, _shown(getattr(settings, field)), _shown(info.default), source, str(info.description))
        )
    return lines


def example_env() -> str:
    """A `.env` with every setting, its meaning and its default, each commented out."""
    lines = [
        "# Settings of kalshi-platform: copy to .env, keep it to yourself (chmod 600), take away the # where needed."
    ]
    lines += ["# The environment wins over this file. `kalshi-platform doctor` says whether it fits."]
    for field, info in Settings.model_fields.items():
        lines += ["", f"# {info.description}", f"#{PREFIX}{field.upper()}={_shown(info.default)}"]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, SecretStr):
        return str(value)
    return ",".join(masked(part) for part in value.get_secret_value().split(","))
