"""Alerts as Slack, PagerDuty and a mail server get them, on loopback."""

import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kalshi_platform.service.alerts import Alert, AlertError, Level, send
from kalshi_platform.service.settings import load_settings

ALERT = Alert(Level.ERROR, "lag/trades", "trades are 20 min behind", "Look at the deduplicator's log.")


@dataclass
class Heard:
    """What two servers were told: HTTP by path, mail as the whole session."""

    http: str = ""
    smtp: str = ""
    posts: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A webhook and a mail server, which end with the test."""
    told = Heard()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.posts.append((self.path, body))
            self.send_response(told.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Mail(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            in_message = False
            for line in self.rfile:
                told.mails.append(line.decode().rstrip())
                word = line.upper().split()[:1]
                if in_message and line != b".\r\n":
                    continue
                in_message = word == [b"DATA"]
                answer = b"354 go on" if in_message else b"221 bye" if word == [b"QUIT"] else b"250 ok"
                self.wfile.write(answer + b"\r\n")
                if word == [b"QUIT"]:
                    return

    http, smtp = HTTPServer(("127.0.0.1", 0), Webhook), socketserver.TCPServer(("127.0.0.1", 0), Mail)
    told.http = f"http://127.0.0.1:{http.server_address[1]}"
    told.smtp = f"smtp://127.0.0.1:{smtp.server_address[1]}"
    servers = (http, smtp)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    yield told
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def test_everybody_who_is_named_is_told(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in the form that it takes."""
    monkeypatch.setenv("KALSHI_ALERT_SLACK_URL", f"{heard.http}/services/T0/B0/secret")
    monkeypatch.setenv("KALSHI_ALERT_PAGERDUTY_KEY", "routing")
    monkeypatch.setenv("KALSHI_ALERT_PAGERDUTY_URL", f"{heard.http}/v2/enqueue")
    monkeypatch.setenv("KALSHI_ALERT_SMTP_URL", heard.smtp)
    monkeypatch.setenv("KALSHI_ALERT_EMAIL_TO", "people@example.com, others@example.com")
    assert send(ALERT, load_settings()) == ["Slack", "PagerDuty", "mail"]
    (slack_path, slack), (_, page) = heard.posts
    assert slack_path == "/services/T0/B0/secret"
    assert slack == {"text": f"🔴 *{ALERT.title}*\n{ALERT.text}"}
    assert page["routing_key"] == "routing"
    assert page["dedup_key"] == ALERT.key
    assert page["event_action"] == "trigger"
    assert "Subject: [kalshi_platform] error: trades are 20 min behind" in heard.mails
    assert "Look at the deduplicator's log." in heard.mails
    assert sum(line.lower().startswith("rcpt to:") for line in heard.mails) == 2


def test_what_is_over_closes_the_incident_and_nobody_is_woken_by_a_warning(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PagerDuty gets errors and their ends."""
    monkeypatch.setenv("KALSHI_ALERT_PAGERDUTY_KEY", "routing")
    monkeypatch.setenv("KALSHI_ALERT_PAGERDUTY_URL", f"{heard.http}/v2/enqueue")
    for level in (Level.WARNING, Level.RESOLVED):
        send(Alert(level, "k", "t", "x"), load_settings())
    assert [(body["event_action"], body["dedup_key"]) for _, body in heard.posts] == [("resolve", "k")]


def test_nobody_named_is_nobody_told() -> None:
    """The hook is optional."""
    assert send(ALERT, load_settings()) == []


def test_a_refusal_is_told_without_the_address(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook's address is a secret; one refusal does not silence the others."""
    heard.status = 403
    monkeypatch.setenv("KALSHI_ALERT_SLACK_URL", f"{heard.http}/services/T0/B0/secret")
    with pytest.raises(AlertError, match="Slack: answered 403") as refused:
        send(ALERT, load_settings())
    monkeypatch.setenv("KALSHI_ALERT_SLACK_URL", "http://127.0.0.1:1/services/T0/B0/secret")
    with pytest.raises(AlertError, match="Slack: ConnectError") as unreachable:
        send(ALERT, load_settings())
    for error in (refused, unreachable):
        assert "secret" not in str(error.value)
        assert "127.0.0.1" not in str(error.value)
    monkeypatch.setenv("KALSHI_ALERT_SMTP_URL", heard.smtp)
    monkeypatch.setenv("KALSHI_ALERT_EMAIL_TO", "people@example.com")
    assert send(ALERT, load_settings()) == ["mail"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KALSHI_ALERT_EMAIL_TO", "", "KALSHI_ALERT_EMAIL_TO is not"),
        ("KALSHI_ALERT_SMTP_URL", "http://x", "must read smtp://"),
        ("KALSHI_ALERT_SMTP_URL", None, "offers no encryption"),
    ],
    ids=["nobody to send to", "no mail server", "a password in the clear"],
)
def test_settings_that_do_not_fit_are_said(
    name: str, value: str | None, said: str, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In plain words, and no password leaves unencrypted."""
    monkeypatch.setenv("KALSHI_ALERT_SMTP_URL", heard.smtp)
    monkeypatch.setenv("KALSHI_ALERT_EMAIL_TO", "people@example.com")
    monkeypatch.setenv(name, heard.smtp.replace("//", "//user:hunter2@") if value is None else value)
    with pytest.raises(AlertError, match=said) as error:
        send(ALERT, load_settings())
    assert "hunter2" not in str(error.value)
    assert not any("hunter2" in line for line in heard.mails)
