"""Alerts: a few words to the people on call, by Slack, PagerDuty or mail, as the settings say.

Here belongs how each of them is spoken to. Kept out: what is worth an alert. Addresses of webhooks and passwords are
secrets: no error repeats them.
"""

import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from urllib.parse import unquote, urlsplit

import httpx

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.service.settings import Settings

_SECONDS = 10.0
_SMTP_PORTS = {"smtp": 587, "smtps": 465}
_MARKS = {"error": "🔴", "warning": "🟡", "resolved": "🟢"}
_SUMMARY = 1024
"""Characters that PagerDuty takes."""


class AlertError(PlatformError):
    """Nobody could be told; the text says why, without the address."""


class Level(StrEnum):
    """How loud an alert is."""

    ERROR = "error"
    WARNING = "warning"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """What happened.

    Attributes:
        level: How loud it is; a resolved one ends the one of the same key.
        key: What it is about, the same each time: a second one is no second incident.
        title: One line.
        text: What a person needs to act: what, where, what to do.
    """

    level: Level
    key: str
    title: str
    text: str


def send(alert: Alert, settings: Settings) -> list[str]:
    """Tell everybody whom the settings name; returns who was told, which is nobody where they name nobody.

    Raises:
        AlertError: Somebody is named and nobody took it.
    """
    told, failures = [], []
    for name, tell in _channels(settings).items():
        try:
            tell(alert)
            told.append(name)
        except (httpx.HTTPError, httpx.InvalidURL, smtplib.SMTPException, OSError, ConfigurationError) as error:
            failures.append(f"{name}: {_reason(error)}")
    if failures and not told:
        raise AlertError(f"nobody could be told of {alert.title!r}: {'; '.join(failures)}")
    return told


def _channels(settings: Settings) -> Mapping[str, Callable[[Alert], None]]:
    channels: dict[str, Callable[[Alert], None]] = {}
    if (slack := settings.alert_slack_url) is not None:
        channels["Slack"] = lambda alert: _post(slack.get_secret_value(), _slack(alert))
    if (pagerduty := settings.alert_pagerduty_key) is not None:
        channels["PagerDuty"] = lambda alert: _page(alert, pagerduty.get_secret_value(), settings.alert_pagerduty_url)
    if (smtp := settings.alert_smtp_url) is not None:
        channels["mail"] = lambda alert: _mail(alert, smtp.get_secret_value(), settings)
    return channels


def _reason(error: Exception) -> str:
    """Why it did not work, in words that hold no address."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"answered {error.response.status_code}"
    return str(error) if isinstance(error, ConfigurationError) else type(error).__name__


def _post(url: str, body: Mapping[str, object]) -> None:
    httpx.post(url, json=body, timeout=_SECONDS).raise_for_status()


def _slack(alert: Alert) -> Mapping[str, object]:
    return {"text": f"{_MARKS[alert.level]} *{alert.title}*\n{alert.text}"}


def _page(alert: Alert, routing_key: str, url: str) -> None:
    """Errors open an incident and resolved ones close it; nobody is woken for a warning."""
    if alert.level is Level.WARNING:
        return
    body: dict[str, object] = {
        "routing_key": routing_key,
        "dedup_key": alert.key,
        "event_action": "resolve" if alert.level is Level.RESOLVED else "trigger",
        "payload": {
            "summary": alert.title[:_SUMMARY],
            "source": "kalshi_platform",
            "severity": "error",
            "custom_details": {"text": alert.text},
        },
    }
    _post(url, body)


def _mail(alert: Alert, url: str, settings: Settings) -> None:
    to = settings.alert_email_to
    if not to:
        raise ConfigurationError("KALSHI_ALERT_SMTP_URL is set and KALSHI_ALERT_EMAIL_TO is not: say who gets alerts")
    message = EmailMessage()
    message["From"], message["To"] = settings.alert_email_from, to
    message["Subject"] = f"[kalshi_platform] {alert.level}: {alert.title}"
    message.set_content(alert.text)
    with _smtp(url) as server:
        server.send_message(message)


@contextmanager
def _smtp(url: str) -> Iterator[smtplib.SMTP]:
    """A session; encrypted wherever the server can, and always before a password is sent."""
    parts = urlsplit(url)
    if parts.scheme not in _SMTP_PORTS or not parts.hostname:
        raise ConfigurationError("KALSHI_ALERT_SMTP_URL must read smtp://user:password@host:587 or smtps://…")
    port = parts.port or _SMTP_PORTS[parts.scheme]
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(parts.hostname, port, timeout=_SECONDS, context=context)
    else:
        server = smtplib.SMTP(parts.hostname, port, timeout=_SECONDS)
    with server:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
        elif parts.username and parts.scheme == "smtp":
            raise ConfigurationError("the mail server offers no encryption, so it is not given the password")
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        yield server
