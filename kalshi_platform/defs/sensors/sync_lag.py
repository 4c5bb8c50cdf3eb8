"""Sync lag: how far production is behind the exchange, told when it gets bad, worse, or well again.

- Add here: states of lag and what is said of them.
- Keep out: thresholds, which are settings.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.defs.resources import Alerts, ProductionDatabase
from kalshi_platform.service.alerts import Alert, Level
from kalshi_platform.service.settings import Settings, load_settings


class Lag(StrEnum):
    """How bad it is."""

    FINE = "fine"
    LATE = "late"
    STALLED = "stalled"


_LEVELS = {Lag.FINE: Level.RESOLVED, Lag.LATE: Level.WARNING, Lag.STALLED: Level.ERROR}
_ADVICE = (
    "Is the deduplicator running (`kalshi_deduplicator_active`), and does it reach every gatherer's database? "
    "`kalshi-platform status` and its log say what it waits for."
)


@dg.sensor(
    name="sync_lag",
    description="Alerts when a table of production falls behind KALSHI_LAG_WARN_SECONDS or KALSHI_LAG_ERROR_SECONDS, "
    "and when it has caught up; says nothing in between.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def sync_lag(context: dg.SensorEvaluationContext, production: ProductionDatabase, alerts: Alerts) -> dg.SkipReason:
    """Compares watermarks with the clock; the cursor holds each table's state."""
    try:
        marks = production.watermark(STREAM_TABLES)
    except ConfigurationError as error:  # a fresh clone has no production yet, which is no failure
        return dg.SkipReason(str(error))
    before: dict[str, str] = json.loads(context.cursor or "{}")
    now = datetime.now(UTC)
    lags = {name: (now - mark).total_seconds() for name, mark in marks.items() if mark is not None}
    states = _states(lags, load_settings())
    for name, state in states.items():
        if state != before.get(name, Lag.FINE):
            context.log.warning(f"{name} is {state}: {lags[name]:,.0f} s behind")
            alerts.send(_alert(name, state, lags[name]))
    context.update_cursor(json.dumps({**before, **states}))
    return dg.SkipReason(
        ", ".join(f"{name} {state} ({lags[name]:,.0f} s)" for name, state in states.items()) or "nothing"
    )


def _states(lags: Mapping[str, float], settings: Settings) -> dict[str, Lag]:
    def state(lag: float) -> Lag:
        if lag > settings.lag_error_seconds:
            return Lag.STALLED
        return Lag.LATE if lag > settings.lag_warn_seconds else Lag.FINE

    return {name: state(lag) for name, lag in lags.items()}


def _alert(table: str, state: Lag, lag: float) -> Alert:
    if state is Lag.FINE:
        return Alert(Level.RESOLVED, f"lag/{table}", f"{table} has caught up", f"{lag:,.0f} s behind the exchange.")
    title = f"{table} is {lag / 60:,.0f} min behind the exchange"
    return Alert(_LEVELS[state], f"lag/{table}", title, _ADVICE)
