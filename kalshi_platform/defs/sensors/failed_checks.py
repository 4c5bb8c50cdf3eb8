"""Failed checks: every check that fails or passes again is told to the people on call.

- Add here: which verdicts are worth an alert.
- Keep out: failed runs (`failed_runs`), who is told and how (`service.alerts`).
- A failed check that blocks nothing has no failed run, so checks have a sensor of their own. It speaks when a check's
  outcome for a partition changes, not each time that it is run: an hour that passes hides no other that fails.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from kalshi_platform.defs.checks.all import SPECS
from kalshi_platform.defs.checks.history import Outcome, outcomes, said
from kalshi_platform.defs.checks.verdict import WHAT_TO_DO
from kalshi_platform.defs.resources import Alerts
from kalshi_platform.service.alerts import Alert, Level

_TOLD = 5
"""Partitions of a check that one alert tells of; it counts the others."""


@dg.sensor(
    name="check_failures",
    description="Alerts when a check fails for a partition that passed before, and when it fails for none any more.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def check_failures(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SkipReason:
    """Looks at what changed; the cursor holds how far that was, and which partitions of which check fail."""
    cursor = _cursor(context.cursor)
    seen: int = cursor.get("seen", 0)
    failing: dict[str, list[str]] = cursor.get("failing", {})
    changes: dict[str, list[Outcome]] = {}
    for one in outcomes(context.instance, SPECS, seen):
        seen = max(seen, one.event)
        name = one.check.to_user_string()
        if one.passed is ((one.partition or "") in failing.get(name, [])):
            changes.setdefault(name, []).append(one)
    for name, changed in changes.items():
        before, now = failing.get(name, []), _failing(failing.get(name, []), changed)
        for alert in _alerts(context.instance, name, before, now, changed):
            alerts.send(alert)
        failing = {**failing, name: now} if now else {one: kept for one, kept in failing.items() if one != name}
        context.update_cursor(json.dumps({"seen": cursor.get("seen", 0), "failing": failing}))  # told so far
    context.update_cursor(json.dumps({"seen": seen, "failing": failing}))
    return dg.SkipReason(f"failing: {', '.join(_named(*one) for one in failing.items()) or 'none'}")


def _cursor(text: str | None) -> dict[str, Any]:
    """What is remembered; nothing, where an older version remembered in another shape."""
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("failing"), dict) else {}


def _failing(before: Sequence[str], changed: Sequence[Outcome]) -> list[str]:
    """Which partitions fail now: all, for one that is forgotten is news at the next look, and hides that it fails."""
    passed = {one.partition or "" for one in changed if one.passed}
    failed = [one.partition or "" for one in changed if not one.passed]
    return sorted({*before, *failed} - passed)


def _alerts(
    instance: dg.DagsterInstance, name: str, before: Sequence[str], now: Sequence[str], changed: Sequence[Outcome]
) -> Iterator[Alert]:
    """One for the partitions that fail since the last look; one when none fails any more. A check is one incident."""
    key, failed = (
        f"check/{name}",
        sorted((one for one in changed if not one.passed), key=lambda one: one.partition or ""),
    )
    if failed:
        found = [evaluation for one in failed[:_TOLD] if (evaluation := said(instance, one))]
        is_bad = not found or any(one.severity is dg.AssetCheckSeverity.ERROR for one in found)
        text = [one.description or "" for one in found]
        text += [f"… and {len(failed) - _TOLD} more partitions"] if len(failed) > _TOLD else []
        advice = {str(one.metadata[WHAT_TO_DO].value) for one in found if WHAT_TO_DO in one.metadata}
        text += [f"What to do: {one}." for one in sorted(advice)]
        title = f"{_named(name, [one.partition or '' for one in failed])} fails"
        yield Alert(Level.ERROR if is_bad else Level.WARNING, key, title, "\n".join(text))
    elif before and not now:
        latest = said(instance, max(changed, key=lambda one: one.event))
        yield Alert(Level.RESOLVED, key, f"{name} passes again", (latest and latest.description) or "")


def _named(name: str, partitions: Sequence[str]) -> str:
    """A check and the partitions that it is about, if it has any."""
    shown = ", ".join([*partitions[:_TOLD], *([f"{len(partitions) - _TOLD} more"] if len(partitions) > _TOLD else [])])
    return f"{name} ({shown})" if shown else name
