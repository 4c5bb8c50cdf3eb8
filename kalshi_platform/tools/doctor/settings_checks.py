"""Settings that are misspelt, cannot be read, or contradict each other. Kept out: asking anybody."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.service.settings import PREFIX, Settings
from kalshi_platform.tools.doctor.database_checks import LOGINS
from kalshi_platform.tools.doctor.findings import Finding, note, setting, well
from kalshi_platform.tools.doctor.hosts import is_local
from kalshi_platform.tools.status.facts import PRODUCTION, database_urls

_SUBJECT = "settings"
_CONNECTIONS_PER_KEY = 200  # kalshi-protocol.md §3: from 200 by tier
_OPEN_MARKETS = 100_000  # without combos there were 96,000 in autumn 2026
_GATHERER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_settings(settings: Settings, unknown: Sequence[str]) -> list[Finding]:
    """All of it; `unknown` are names with our prefix that nobody reads."""
    found = [
        *_misspelt(unknown),
        *_exchange(settings),
        *_databases(settings),
        *_times(settings),
        *_connections(settings),
        *_alerts(settings),
    ]
    return found or [well(_SUBJECT, "they fit each other")]


def _misspelt(unknown: Sequence[str]) -> Iterator[Finding]:
    names = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in unknown:
        close = get_close_matches(name, names, 1)
        remedy = f"did you mean {close[0]}?" if close else "remove it; `kalshi-platform settings` shows all there are"
        yield setting(_SUBJECT, f"{name} is no setting: nobody reads it", remedy)


def _exchange(settings: Settings) -> Iterator[Finding]:
    rest, socket = urlsplit(settings.rest_url), urlsplit(settings.ws_url)
    for name, address, schemes in (("REST_URL", rest, ("https", "http")), ("WS_URL", socket, ("wss", "ws"))):
        if address.scheme not in schemes or not address.hostname:
            yield setting(
                _SUBJECT, f"{PREFIX}{name} is no {schemes[0]}:// address", "leave it out for the real exchange"
            )
        elif address.scheme == schemes[1] and not is_local(address.hostname):
            yield setting(
                _SUBJECT, f"{PREFIX}{name} is not encrypted", f"write {schemes[0]}://{address.netloc}{address.path}"
            )
    if ("demo" in (rest.hostname or "")) != ("demo" in (socket.hostname or "")):
        yield setting(
            _SUBJECT,
            f"{PREFIX}REST_URL and {PREFIX}WS_URL are two exchanges, the demo and the real one",
            "take both from one row of Kalshi's list of environments",
        )
    if (settings.api_key_id is None) != (settings.private_key_path is None):
        there, missing = ("API_KEY_ID", "PRIVATE_KEY_PATH")[:: 1 if settings.api_key_id else -1]
        yield setting(
            _SUBJECT, f"{PREFIX}{there} is set and {PREFIX}{missing} is not", "a key is both; set the other one"
        )


def _databases(settings: Settings) -> Iterator[Finding]:
    try:
        urls = database_urls(settings)
    except ConfigurationError as error:
        yield setting(_SUBJECT, str(error), "write each gatherer once, separated by commas")
        return
    seen: dict[str, str] = {}
    for name, url in urls.items():
        place = _place(url)
        if place in seen:
            yield setting(
                _SUBJECT,
                f"{seen[place]} and {name} are one database ({place})",
                "each gatherer and production have a database of their own",
            )
        seen.setdefault(place, name)
    yield from _other_logins(settings)
    if not _GATHERER_ID.fullmatch(settings.gatherer_id):
        yield setting(
            _SUBJECT,
            f"{PREFIX}GATHERER_ID is {settings.gatherer_id!r}: it names a folder and stands in {PREFIX}GATHERERS",
            "write letters, digits, dots, underscores and dashes only",
        )
    listed = settings.gatherer_urls() if settings.gatherers is not None else {}
    if listed and settings.gatherer_database_url is not None and settings.gatherer_id not in listed:
        yield setting(
            _SUBJECT,
            f"{PREFIX}GATHERER_ID is {settings.gatherer_id}, which {PREFIX}GATHERERS does not name",
            f"it is never merged: add it there, or give it one of these names: {', '.join(listed)}",
        )
    if PRODUCTION in listed:
        yield setting(_SUBJECT, f"a gatherer is called {PRODUCTION}", "give it another name")


def _other_logins(settings: Settings) -> Iterator[Finding]:
    """Production named again must be production."""
    for name in LOGINS:
        if getattr(settings, name) is None:
            continue
        if settings.production_database_url is None:
            yield setting(
                _SUBJECT,
                f"{PREFIX}{name.upper()} is set and {PREFIX}PRODUCTION_DATABASE_URL is not",
                f"set {PREFIX}PRODUCTION_DATABASE_URL: it is the same database for another login",
            )
            continue
        here, there = _place(settings.required(name)), _place(settings.required("production_database_url"))
        if here != there:
            yield setting(
                _SUBJECT,
                f"{PREFIX}{name.upper()} is {here}, {PREFIX}PRODUCTION_DATABASE_URL is {there}",
                "both are one database: write the same host, port and name; only the login differs",
            )


def _times(settings: Settings) -> Iterator[Finding]:
    if settings.settle_seconds >= settings.checkpoint_seconds:
        yield setting(
            _SUBJECT,
            f"{PREFIX}SETTLE_SECONDS ({settings.settle_seconds:g}) is not below {PREFIX}CHECKPOINT_SECONDS "
            f"({settings.checkpoint_seconds})",
            "a checkpoint must stand before the next one is due: make the first one smaller",
        )
    if settings.silence_seconds <= settings.settle_seconds:
        yield setting(
            _SUBJECT,
            f"{PREFIX}SILENCE_SECONDS ({settings.silence_seconds:g}) is not above {PREFIX}SETTLE_SECONDS "
            f"({settings.settle_seconds:g})",
            "every gatherer would count as silent: make the first one larger",
        )
    if settings.lag_warn_seconds > settings.lag_error_seconds:
        yield setting(
            _SUBJECT,
            f"{PREFIX}LAG_WARN_SECONDS ({settings.lag_warn_seconds:g}) is above {PREFIX}LAG_ERROR_SECONDS "
            f"({settings.lag_error_seconds:g})",
            "nobody would be warned before it is an error: make the first one smaller",
        )


def _connections(settings: Settings) -> Iterator[Finding]:
    lifecycle = settings.lifecycle_connections * (2 if settings.include_multivariate else 1)
    total = settings.ticker_connections + settings.trade_connections + lifecycle + settings.orderbook_connections
    if total > _CONNECTIONS_PER_KEY:
        yield note(
            _SUBJECT,
            f"a gatherer opens {total} connections; keys begin with {_CONNECTIONS_PER_KEY}",
            f"ask Kalshi for more, or lower {PREFIX}ORDERBOOK_CONNECTIONS",
        )
    room = settings.orderbook_connections * settings.markets_per_connection
    if room < _OPEN_MARKETS:
        yield note(
            _SUBJECT,
            f"a gatherer has room for {room:,} order books; without combos about {_OPEN_MARKETS:,} are open",
            f"raise {PREFIX}ORDERBOOK_CONNECTIONS or {PREFIX}MARKETS_PER_CONNECTION, else some are not captured",
        )


def _alerts(settings: Settings) -> Iterator[Finding]:
    """Addresses of webhooks are secrets and are not repeated."""
    webhooks = {"ALERT_PAGERDUTY_URL": settings.alert_pagerduty_url}
    if settings.alert_slack_url is not None:
        webhooks["ALERT_SLACK_URL"] = settings.required("alert_slack_url")
    for name, url in webhooks.items():
        parts = urlsplit(url)
        if not parts.hostname or parts.scheme not in ("https", "http"):
            yield setting(_SUBJECT, f"{PREFIX}{name} is no https:// address", "copy the whole address of the webhook")
    mails = urlsplit(settings.required("alert_smtp_url")) if settings.alert_smtp_url is not None else None
    if mails is not None and (mails.scheme not in ("smtp", "smtps") or not mails.hostname):
        yield setting(
            _SUBJECT, f"{PREFIX}ALERT_SMTP_URL is no mail server", "write smtp://user:password@host:587 or smtps://…"
        )
    if (mails is None) != (not settings.alert_email_to):
        there, missing = ("ALERT_SMTP_URL", "ALERT_EMAIL_TO")[:: 1 if mails else -1]
        yield setting(
            _SUBJECT,
            f"{PREFIX}{there} is set and {PREFIX}{missing} is not",
            "mail needs both: a server, and who gets it",
        )


def _place(url: str) -> str:
    """Host, port and name of a database, without who asks."""
    parts = urlsplit(url)
    try:
        port = parts.port or 5432
    except ValueError:
        port = 0
    return f"{parts.hostname}:{port}{parts.path}"
