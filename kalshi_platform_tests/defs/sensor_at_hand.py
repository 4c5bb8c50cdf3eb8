"""A sensor evaluated as the daemon does it, with people who write down what they are told."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from kalshi_platform.defs.resources import Alerts
from kalshi_platform.service.alerts import Alert, AlertError

TOLD: list[Alert] = []


class Told(Alerts):
    """Writes down what it is told, as a channel does; `broken` refuses."""

    broken: bool = False

    def send(self, alert: Alert) -> list[str]:
        """Remember."""
        if self.broken:
            raise AlertError("nobody could be told")
        TOLD.append(alert)
        return ["here"]


@dataclass
class Sensor:
    """A sensor with its cursor, evaluated as the daemon does."""

    definition: Any
    instance: dg.DagsterInstance
    resources: dict[str, Any]
    cursor: str | None = None
    alerts: list[Alert] = field(default_factory=lambda: TOLD)

    def tick(self, **resources: Any) -> Any:
        """One evaluation."""
        given = {name: self.resources[name] for name in self.definition.required_resource_keys} | resources
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=given)
        result = self.definition(context)
        self.cursor = getattr(result, "cursor", None) or context.cursor
        return result
