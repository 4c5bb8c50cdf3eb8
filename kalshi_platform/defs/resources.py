"""Resources: what assets, checks and sensors reach the outside through.

- Add here: thin adapters that know where something is and hand calls to the room that speaks its language.
- Keep out: SQL, Parquet and decisions.
- Addresses come from the platform's settings when they are needed, not when definitions load, so that a missing one
  is said in plain words by what needs it, and no secret becomes part of a definition.
- Dagster's word: resources, https://docs.dagster.io/guides/build/external-resources
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
from pydantic import Field

from kalshi_platform.core.schema import Table
from kalshi_platform.database import export, quality
from kalshi_platform.database.listening import Listening, listening
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.signing import Signer, load_signer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.service.alerts import Alert, send
from kalshi_platform.service.settings import load_settings


class ProductionDatabase(dg.ConfigurableResource):  # type: ignore[type-arg] # hands out itself
    """The database that holds the merged record, read only."""

    url: str | None = Field(
        default=None, repr=False, description="Address; KALSHI_PRODUCTION_DATABASE_URL where not given."
    )

    def address(self) -> str:
        """Where the database is.

        Raises:
            ConfigurationError: Where neither this resource nor the environment says.
        """
        return self.url or load_settings().required("production_database_url")

    def read_window(self, table: Table, start: datetime, end: datetime) -> AbstractContextManager[pa.RecordBatchReader]:
        """The rows of a window as a stream of Arrow batches."""
        return export.read_window(self.address(), table, start, end)

    def count_window(self, table: Table, start: datetime, end: datetime) -> int:
        """How many rows a window has."""
        return export.count_window(self.address(), table, start, end)

    def count_rows(self, table: Table) -> int:
        """How many rows a table has that is no stream."""
        return export.count_rows(self.address(), table)

    def read_table(self, table: Table) -> AbstractContextManager[pa.RecordBatchReader]:
        """All rows of a table that is no stream."""
        return export.read_table(self.address(), table)

    def read_hours(self, table: Table, start: datetime, end: datetime) -> AbstractContextManager[pa.RecordBatchReader]:
        """What a table that tells of hours says of a window."""
        return export.read_hours(self.address(), table, start, end)

    def last_seen(self, table: Table) -> datetime | None:
        """When the exchange was last asked about any row of a table that it describes."""
        return export.last_seen(self.address(), table)

    def families(self) -> pa.Table:
        """Every market with its event and series."""
        return export.families(self.address())

    def listening(self, channel: str, start: datetime, end: datetime) -> Listening:
        """Who listened to a channel, and what nobody heard."""
        return listening(self.address(), channel, start, end)

    def refuse_dropped(self, table: Table, start: datetime, end: datetime) -> None:
        """Make sure that production still has the rows of a window; else the lake's file is the only copy."""
        export.refuse_dropped(self.address(), table, start, end)

    def watermark(self, tables: Sequence[Table]) -> dict[str, datetime | None]:
        """Per table, the time up to which the record is complete; None where that cannot be said."""
        return export.watermark(self.address(), tables, load_settings().silence_seconds)

    def is_merged(self, table: Table) -> bool:
        """Whether rows of any gatherer are merged into a table."""
        return export.is_merged(self.address(), table)

    def earliest(self, table: Table) -> datetime | None:
        """The time of a table's first row."""
        return export.earliest(self.address(), table)

    def trades_without_delta(self, start: datetime, end: datetime) -> list[quality.Uncoupled]:
        """Trades that no change of the book stands for."""
        return quality.trades_without_delta(self.address(), start, end)

    def conflicts(self, table: Table, start: datetime, end: datetime) -> list[quality.Conflict]:
        """Rows of a window of which gatherers brought different versions."""
        return quality.conflicts(self.address(), table, start, end)

    def coverage(
        self, channel: str, start: datetime, end: datetime
    ) -> tuple[list[quality.CoveredHour], list[datetime]]:
        """What is reckoned of a channel's hours, and which hours are not reckoned yet."""
        return quality.coverage(self.address(), channel, start, end)

    def uncovered(self, channel: str, start: datetime, end: datetime) -> list[quality.Uncovered]:
        """The intervals of a window that nobody heard."""
        return quality.uncovered(self.address(), channel, start, end)

    def gap_hours(self, since: datetime, most: int) -> list[quality.GapHour]:
        """Hours with uncovered intervals that were reckoned after a moment."""
        return quality.gap_hours(self.address(), since, most)

    def merged(self) -> list[quality.Merged]:
        """How much each gatherer brought, and how much of it was new."""
        return quality.merged(self.address())

    def orphan_trades(self, start: datetime, end: datetime) -> list[quality.Orphan]:
        """Markets that trades name and production does not know."""
        return quality.orphan_trades(self.address(), start, end)

    def unsettled(self, results: Mapping[str, str]) -> list[quality.Unsettled]:
        """Which of the exchange's results production does not have."""
        return quality.unsettled(self.address(), results)

    def grids(self, tickers: Sequence[str], synced: datetime | None) -> pa.Table:
        """The bands of prices of markets, as they were known when all was last synced."""
        return quality.grids(self.address(), tickers, synced)

    def read_checkpoints(self, start: datetime, end: datetime) -> AbstractContextManager[pa.RecordBatchReader]:
        """The checkpoints that a window is replayed between."""
        return quality.read_checkpoints(self.address(), start, end)


class CatalogueDatabase(dg.ConfigurableResource):  # type: ignore[type-arg] # hands out itself
    """The same database for what is fetched over REST: series, events, markets, and trades that nobody heard."""

    url: str | None = Field(
        default=None,
        repr=False,
        description="Address; KALSHI_CATALOGUE_DATABASE_URL where not given, else KALSHI_PRODUCTION_DATABASE_URL.",
    )

    def address(self) -> str:
        """Where the database is.

        Raises:
            ConfigurationError: Where neither this resource nor the environment says.
        """
        settings = load_settings()
        name = "catalogue_database_url" if settings.catalogue_database_url else "production_database_url"
        return self.url or settings.required(name)


class OwnersDatabase(dg.ConfigurableResource):  # type: ignore[type-arg] # hands out itself
    """The same database for the tables' owner, who alone may drop partitions."""

    url: str | None = Field(
        default=None, repr=False, description="Address; KALSHI_OWNERS_DATABASE_URL where not given."
    )

    def address(self) -> str:
        """Where the database is.

        Raises:
            ConfigurationError: Where neither this resource nor the environment says.
        """
        return self.url or load_settings().required("owners_database_url")


class Alerts(dg.ConfigurableResource):  # type: ignore[type-arg] # hands out itself
    """The people on call, as the settings name them."""

    enabled: bool = Field(default=True, description="False tells nobody.")

    def send(self, alert: Alert) -> list[str]:
        """Tell them; returns by which ways.

        Raises:
            AlertError: Somebody is named and nobody took it.
        """
        return send(alert, load_settings()) if self.enabled else []


class Exchange(dg.ConfigurableResource):  # type: ignore[type-arg] # hands out itself
    """The exchange over REST."""

    rest_url: str | None = Field(default=None, description="Its address; KALSHI_REST_URL where not given.")

    def client(self) -> RestClient:
        """A client to use as an async context manager; signed where the settings name a key, and paid for by it.

        Raises:
            ConfigurationError: Where the settings name half a key, or one that cannot be read.
        """
        return RestClient(self.rest_url or load_settings().rest_url, _signer())

    @property
    def lists_combos(self) -> bool:
        """Whether combos are followed too."""
        return load_settings().include_multivariate


def _signer() -> Signer | None:
    settings = load_settings()
    if settings.api_key_id is None and settings.private_key_path is None:
        return None
    path = Path(settings.required("private_key_path"))
    return load_signer(settings.required("api_key_id"), path, lambda: time.time_ns() // 1_000_000)


class LakeFolder(dg.ConfigurableResource):  # type: ignore[type-arg] # hands out itself
    """The Parquet lake."""

    root: str | None = Field(default=None, description="Its folder; KALSHI_LAKE_URL where not given, else `lake`.")

    def lake(self) -> Lake:
        """The lake itself."""
        return Lake(self.root or load_settings().lake_url)


def default_resources() -> dict[str, object]:
    """The resources by the names under which definitions ask for them."""
    return {
        "production": ProductionDatabase(),
        "catalogue": CatalogueDatabase(),
        "owner": OwnersDatabase(),
        "exchange": Exchange(),
        "alerts": Alerts(),
        "lake": LakeFolder(),
    }
