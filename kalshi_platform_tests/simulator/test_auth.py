import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from kalshi_platform.simulator import running

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "rest_demo"
NOT_FOUND = {"code": "authentication_error", "message": "authentication_error", "details": "NOT_FOUND"}
BAD_SIGNATURE = NOT_FOUND | {"details": "INCORRECT_API_KEY_SIGNATURE"}
EXPIRED = {"code": "header_timestamp_expired", "message": "header timestamp expired"}
MISSING = {"code": "signature_is_missing_from_headers", "message": "signature is missing from headers"}


async def refusal(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and body of an upgrade that must fail."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, additional_headers=headers):
            pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_signed_upgrade_is_accepted(kind: str, signers: Any, options: Callable[..., Any]) -> None:
    """Both kinds of keys open a socket, at up to just under 30 s of skew either way."""
    async with running(options()) as simulator:
        for age_ms in (0, 28_000, -28_000):
            async with connect(simulator.ws_url, additional_headers=signers[kind].headers(age_ms=age_ms)) as socket:
                await socket.send('{"id":1,"cmd":"list_subscriptions"}')
                assert json.loads(await socket.recv())["type"] == "ok"


async def test_bad_upgrades_are_refused(signers: Any, options: Callable[..., Any]) -> None:
    """Each wrong handshake gets 401 and its own recorded body."""
    rsa, ed25519 = signers["rsa"], signers["ed25519"]
    cases = [
        ({}, MISSING),
        ({k: v for k, v in rsa.headers().items() if "SIGNATURE" not in k}, MISSING),
        (rsa.headers() | {"KALSHI-ACCESS-KEY": "00000000-0000-0000-0000-000000000000"}, NOT_FOUND),
        (rsa.headers(age_ms=30_000), EXPIRED),
        (rsa.headers(age_ms=-300_000), EXPIRED),
        (rsa.headers() | {"KALSHI-ACCESS-TIMESTAMP": "yesterday"}, EXPIRED),
        (rsa.headers(salt=20), BAD_SIGNATURE),
        (rsa.headers("/trade-api/v2/markets"), BAD_SIGNATURE),
        (rsa.headers() | {"KALSHI-ACCESS-SIGNATURE": "no base64!"}, BAD_SIGNATURE),
        (rsa.headers() | {"KALSHI-ACCESS-KEY": ed25519.key_id}, BAD_SIGNATURE),
        (ed25519.headers("/elsewhere"), BAD_SIGNATURE),
    ]
    async with running(options()) as simulator:
        for headers, body in cases:
            assert await refusal(simulator.ws_url, headers) == (401, {"error": body})


async def test_only_the_path_is_signed(signer: Any, options: Callable[..., Any]) -> None:
    """A query is not part of the signed text: signing it is wrong, leaving it out is right."""
    async with running(options()) as simulator:
        async with connect(f"{simulator.ws_url}?a=b", additional_headers=signer.headers()):
            pass
        signed_query = signer.headers("/trade-api/ws/v2?a=b")
        assert (await refusal(f"{simulator.ws_url}?a=b", signed_query))[0] == 401


async def test_rest_needs_no_signature_but_no_wrong_one(signer: Any, options: Callable[..., Any]) -> None:
    """Market data is public; a signature that is there is checked all the same."""
    path = "/trade-api/v2/exchange/status"
    async with running(options()) as simulator, aiohttp.ClientSession() as http:
        url = f"{simulator.rest_url}/exchange/status"
        for headers, status in ((None, 200), (signer.headers(path), 200), (signer.headers(), 401)):
            async with http.get(url, headers=headers) as response:
                assert response.status == status
                assert ("error" in await response.json()) is (status == 401)


async def test_connections_are_capped_per_key(signers: Any, options: Callable[..., Any]) -> None:
    """One connection too many gets 429 with a text for an error; another key and a freed place are fine."""
    mine, other = signers["rsa"], signers["ed25519"]
    async with running(options(connection_cap=2)) as simulator:
        first = await connect(simulator.ws_url, additional_headers=mine.headers())
        async with connect(simulator.ws_url, additional_headers=mine.headers()):
            assert await refusal(simulator.ws_url, mine.headers()) == (429, {"error": "too many requests"})
            async with connect(simulator.ws_url, additional_headers=other.headers()):
                pass
            await first.close()
            async with connect(simulator.ws_url, additional_headers=mine.headers()):
                pass


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded bodies are not here")
def test_bodies_are_the_recorded_ones() -> None:
    """The expectations of this file are what the demo exchange really said."""
    for name, body in (
        ("bad_signature", BAD_SIGNATURE),
        ("missing_signature_header", MISSING),
        ("skew_minus30s", EXPIRED),
        ("unknown_key_id", NOT_FOUND),
    ):
        assert json.loads((RECORDED / f"auth__{name}.json").read_text()) == {"error": body}
