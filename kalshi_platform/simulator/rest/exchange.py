"""The exchange itself and the account that asks: status, schedule, limits, costs."""

from aiohttp import web

from kalshi_platform.simulator.auth import NO_SIGNATURE, RefusedError
from kalshi_platform.simulator.prices import rfc3339_ms
from kalshi_platform.simulator.requests import answer
from kalshi_platform.simulator.rest.objects import Json
from kalshi_platform.simulator.rest.options import TIERS
from kalshi_platform.simulator.rest.state import RestState
from kalshi_platform.simulator.websocket import KEY_ID

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ALL_DAY = [{"open_time": "00:00", "close_time": "00:00"}]
_THURSDAY = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "00:00"}]
_SHARDS = ("default", "combos")


class ExchangeHandlers:
    """`/exchange` and `/account`."""

    def __init__(self, state: RestState) -> None:
        self._state = state

    async def status(self, _: web.Request) -> web.Response:
        """GET /exchange/status: while the exchange is down it says so with 503 (protocol §2.3)."""
        state = self._state
        flags: Json = {
            "exchange_active": state.exchange_active,
            "trading_active": state.trading_active,
            "intra_exchange_transfers_active": state.exchange_active,
        }
        shards = [{"exchange_index": n, "description": name} | flags for n, name in enumerate(_SHARDS)]
        for closed in state.closed_shards:
            shards[closed]["trading_active"] = False
        body = flags | {"exchange_index_statuses": shards}
        if state.resumes_ms:
            body["exchange_estimated_resume_time"] = rfc3339_ms(state.resumes_ms)
        return answer(body, 200 if state.exchange_active else 503)

    async def schedule(self, _: web.Request) -> web.Response:
        """GET /exchange/schedule: New York time, with the pause on Thursday morning."""
        hours = {day: _THURSDAY if day == "thursday" else _ALL_DAY for day in _DAYS}
        week = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2036-01-01T00:00:00Z"} | hours
        return answer({"schedule": {"standard_hours": [week], "maintenance_windows": []}})

    async def limits(self, request: web.Request) -> web.Response:
        """GET /account/limits.

        Raises:
            RefusedError: Anybody may not ask this.
        """
        if request.get(KEY_ID) is None:
            raise RefusedError(NO_SIGNATURE)
        read_rate, read_capacity, write_rate, write_capacity = TIERS[self._state.options.tier]
        body = {
            "usage_tier": self._state.options.tier,
            "read": {"refill_rate": read_rate, "bucket_capacity": read_capacity},
            "write": {"refill_rate": write_rate, "bucket_capacity": write_capacity},
            "grants": [],
        }
        return answer(body)

    async def costs(self, _: web.Request) -> web.Response:
        """GET /account/endpoint_costs: the exceptions from the default."""
        options = self._state.options
        costs = [
            {"method": "GET", "path": f"/trade-api/v2{path}", "cost": cost}
            for path, cost in options.endpoint_costs.items()
        ]
        return answer({"default_cost": options.default_cost, "endpoint_costs": costs})
