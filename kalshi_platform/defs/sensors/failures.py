"""Failures: every failed run, and every check that fails or passes again, is told to the people on call.

- Add here: what of Dagster's own history is worth an alert.
- Keep out: who is told and how (`service.alerts`).
- A failed check that blocks nothing has no failed run, so checks have a sensor of their own. It speaks when a check's
  outcome changes, not each time that it is run.
"""

import json

import dagster as dg

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.defs.checks.all import CHECKS
from kalshi_platform.defs.checks.history import latest
from kalshi_platform.defs.resources import Alerts
from kalshi_platform.service.alerts import Alert, Level


@dg.run_failure_sensor(
    name="run_failures",
    description="Writes a line for each failed run, and alerts.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def run_failures(context: dg.RunFailureSensorContext, alerts: Alerts) -> None:
    """One line: which run, of what, why."""
    run = context.dagster_run
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    reasons = "; ".join(_reason(event) for event in context.get_step_failure_events())
    reason = reasons or context.failure_event.message
    context.log.error(f"run {run.run_id} of {assets or run.job_name} failed: {reason}")
    title = f"run of {assets or run.job_name} failed"
    try:
        alerts.send(Alert(Level.ERROR, f"run/{run.run_id}", title, f"{reason}\nrun {run.run_id}"))
    except PlatformError as error:  # this sensor goes on to the next run whatever happens here
        context.log.warning(f"nobody was told: {error}")


def _reason(failure: dg.DagsterEvent) -> str:
    """The innermost error of a failed step, without its stack."""
    error = failure.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{failure.step_key}: {error.message.strip() if error else failure.message}"


@dg.sensor(
    name="check_failures",
    description="Alerts when a check fails that passed before, and when it passes again.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def check_failures(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SkipReason:
    """Looks at the latest evaluation of each check; the cursor holds which fail."""
    failing: set[str] = set(json.loads(context.cursor or "[]"))
    for _, found in latest(context.instance, [check.check_key for check in CHECKS]):
        name = found.asset_check_key.to_user_string()
        if found.passed == (name in failing):
            alerts.send(_alert(name, found))
            (failing.discard if found.passed else failing.add)(name)
            context.update_cursor(json.dumps(sorted(failing)))
    return dg.SkipReason(f"failing: {', '.join(sorted(failing)) or 'none'}")


def _alert(name: str, found: dg.AssetCheckEvaluation) -> Alert:
    if found.passed:
        return Alert(Level.RESOLVED, f"check/{name}", f"{name} passes again", found.description or "")
    is_bad = found.severity is dg.AssetCheckSeverity.ERROR
    return Alert(Level.ERROR if is_bad else Level.WARNING, f"check/{name}", f"{name} fails", found.description or "")
