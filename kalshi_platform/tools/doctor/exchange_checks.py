"""The key's files, and the exchange's word on the clock and the key. No secret is ever shown. Kept out: settings."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path

from kalshi_platform.core.errors import ConfigurationError, ExchangeError, ExchangeRefused
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.exchange.signing import Signer, load_signer
from kalshi_platform.service.settings import Settings, env_file
from kalshi_platform.tools.doctor.findings import Finding, note, problem, setting, well

MOST_SKEW_SECONDS = 5.0
"""Beyond it a gatherer complains; at 30 s the exchange refuses (kalshi-pitfalls.md 29)."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_key(settings: Settings) -> tuple[list[Finding], Signer | None]:
    """The key's file, and a signer where it can be used."""
    findings = [*_secret_file(env_file(), ".env holds passwords")]
    if settings.api_key_id is None or settings.private_key_path is None:
        remedy = (
            "make one on kalshi.com and set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH; the deduplicator needs none"
        )
        return [*findings, note("key", "no key is set: a gatherer needs one", remedy)], None
    path = settings.private_key_path
    try:
        signer = load_signer(settings.api_key_id, path, lambda: time.time_ns() // 1_000_000)
    except ConfigurationError as error:
        remedy = "KALSHI_PRIVATE_KEY_PATH names the PEM file as downloaded, readable for this user"
        return [*findings, setting("key", str(error), remedy)], None
    found = [*_secret_file(path, "the private key")]
    return [*findings, *(found or [well("key", f"{path} can be read, by its owner only")])], signer


def _secret_file(path: Path, what: str) -> Iterator[Finding]:
    if path.is_file() and path.stat().st_mode & _OTHERS:
        yield problem("key", f"{what}: others on this machine may read {path}", f"chmod 600 {path}")


async def check_exchange(settings: Settings, signer: Signer | None) -> list[Finding]:
    """Whether it answers, how the clocks differ, whether it takes the key."""
    try:
        async with RestClient(settings.rest_url, waits=patience(attempts=2)) as client:
            status = await client.status()
            findings = [_trading(is_active=status.exchange_active, trades=status.trading_active), *_clock(client)]
        if signer is not None:
            findings.append(await _key_accepted(settings, signer))
    except ConfigurationError as error:
        return [setting("exchange", str(error), "set KALSHI_REST_URL, or leave it out for the real exchange")]
    except ExchangeError as error:
        return [problem("exchange", str(error), "check the network, a proxy or firewall, and KALSHI_REST_URL")]
    return findings


def _trading(*, is_active: bool, trades: bool) -> Finding:
    if is_active and trades:
        return well("exchange", "it answers and trades")
    return note("exchange", "it answers, and pauses now", "wait: Thursdays 03:00 to 05:00 in New York are usual")


def _clock(client: RestClient) -> Iterator[Finding]:
    ahead = client.clock_ahead
    if ahead is None:
        yield note("clock", "the exchange does not say what time it is", "compare this machine's clock by hand")
    elif abs(ahead) > MOST_SKEW_SECONDS:
        word = "ahead of" if ahead > 0 else "behind"
        remedy = (
            "turn on time synchronisation (chrony, systemd-timesyncd): every signature of ours will be refused at 30 s"
        )
        yield problem("clock", f"this machine is {abs(ahead):.0f} s {word} the exchange", remedy)
    else:
        yield well("clock", "within a second or two of the exchange's")


async def _key_accepted(settings: Settings, signer: Signer) -> Finding:
    try:
        async with RestClient(settings.rest_url, signer, waits=patience(attempts=2)) as client:
            limits = await client.account_limits()
    except NotFound:
        return note("key", "this exchange knows no accounts: the key was not tried", "nothing to do on a simulator")
    except ExchangeRefused:
        remedy = "check that the id belongs to this file, and to this exchange: demo and real keys are different"
        return problem("key", "the exchange refuses the key", remedy)
    return well("key", f"the exchange takes it, tier {limits.usage_tier or 'unknown'}")
