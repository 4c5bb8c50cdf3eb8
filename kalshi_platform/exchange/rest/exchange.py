"""The endpoints about the exchange itself and the account that asks."""

from kalshi_platform.exchange.rest.objects import AccountLimits, EndpointCosts, ExchangeStatus, Schedule
from kalshi_platform.exchange.rest.transport import Transport


class ExchangeEndpoints:
    """`/exchange` and `/account`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def status(self) -> ExchangeStatus:
        """The exchange's own word on whether it is open, shard by shard; it gives it even with 503."""
        return await self._transport.get("/exchange/status", ExchangeStatus)

    async def schedule(self) -> Schedule:
        """Trading hours and planned pauses."""
        return await self._transport.get("/exchange/schedule", Schedule, "schedule")

    async def account_limits(self) -> AccountLimits:
        """What this key may spend; needs a signer."""
        return await self._transport.get("/account/limits", AccountLimits)

    async def endpoint_costs(self) -> EndpointCosts:
        """What requests cost."""
        return await self._transport.get("/account/endpoint_costs", EndpointCosts)

    async def learn_limits(self) -> None:
        """Ask again what this key may spend, after a change of tier; the first signed request asks by itself."""
        await self._transport.learn_limits()
