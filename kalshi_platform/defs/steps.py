"""What every step does about errors: which are tried again, which never, and what a cancelled run leaves.

- Add here: what stands between Dagster's steps and the platform's rooms.
- Keep out: the work.
- Not Dagster's RetryPolicy: with one, a run that a person cancels is "tried again", for minutes, instead of ending.
- Dagster's word: op retries, https://docs.dagster.io/guides/build/ops/op-retries
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, IntegrityError, PlatformError

Result = TypeVar("Result")
Facts = dict[str, dg.MetadataValue]

_TRIES_AGAIN = 3
_FIRST_WAIT_SECONDS = 5
_NAMED = 10
"""Partitions that the error of a run names."""

_BESIDE = "Made in a run in which others failed."

FAILED = "failed_partitions"
"""Metadata of a failure: the keys that failed by themselves; `sensors.left_out` asks for the others."""

PASSING = "may_pass_later"
"""Metadata of a failure: those of them that may be made once a database, a disk or the exchange is back;
`sensors.tried_again` asks for them."""

_NEVER_AGAIN = (ConfigurationError, ExchangeRefused, IntegrityError)


@contextmanager
def attempting(context: dg.AssetExecutionContext | dg.OpExecutionContext, what: str = "") -> Iterator[None]:
    """Errors of the platform as Dagster's: what would fail again fails at once, the rest is tried three more times.

    Args:
        context: Knows how often the step was tried.
        what: Named in the error: a partition key.
    """
    named = f"{what}: " if what else ""
    try:
        yield
    except _NEVER_AGAIN as error:
        raise dg.Failure(f"{named}{error}", allow_retries=False) from error
    except (PlatformError, OSError) as error:  # a database, a disk or an exchange that may recover
        if context.retry_number >= _TRIES_AGAIN:
            passing = {PASSING: dg.MetadataValue.json([what])} if what else None
            raise dg.Failure(f"{named}{error}", passing, allow_retries=False) from error
        context.log.warning(f"{named}{error}")
        wait = _FIRST_WAIT_SECONDS * 2**context.retry_number
        raise dg.RetryRequested(max_retries=_TRIES_AGAIN, seconds_to_wait=wait) from error


def each_partition(context: dg.AssetExecutionContext, make: Callable[[str], Facts], *, report: bool) -> None:
    """Make every partition of the run: one that fails takes none of the others along, and is named when all are made.

    What may recover is waited for with the whole step, as `attempting` does; the last time, the others are made too.

    Args:
        context: Of the run.
        make: Makes the partition of a key and says what is known of it.
        report: Whether the others count as made where some failed. Not so where checks of the run are to look at them
            first, for they run behind a step that succeeds: `sensors.left_out` then asks for the others again.

    Raises:
        Failure: Some partitions failed; the text names them, and why.
    """
    made: dict[str, Facts] = {}
    failed: dict[str, Exception] = {}
    for key in context.partition_keys:
        try:
            made[key] = make(key)
        except (PlatformError, OSError) as error:
            if not isinstance(error, _NEVER_AGAIN) and context.retry_number < _TRIES_AGAIN:
                with attempting(context, key):
                    raise
            context.log.warning(f"{key}: {error}")
            failed[key] = error
        else:
            context.add_asset_metadata(made[key], partition_key=key)
    for key, facts in made.items() if failed and report else ():
        one = dg.AssetMaterialization(context.asset_key, partition=key, metadata=facts, description=_BESIDE)
        context.instance.report_runless_asset_event(one)  # the step's own are lost with it
    if failed:
        reason = next(iter(failed.values()))
        passing = [key for key, error in failed.items() if not isinstance(error, _NEVER_AGAIN)]
        named = {FAILED: dg.MetadataValue.json(list(failed)), PASSING: dg.MetadataValue.json(passing)}
        raise dg.Failure(_told(failed, len(context.partition_keys)), named, allow_retries=False) from reason


def _told(failed: Mapping[str, Exception], of: int) -> str:
    reasons = "; ".join(f"{key}: {error}" for key, error in list(failed.items())[:_NAMED])
    more = f" … and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    beside = "" if of == 1 else f"{len(failed)} of {of} partitions failed, the others are made: "
    return f"{beside}{reasons}{more}"


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; when Dagster cancels the run, every task is cancelled first, so that connections close.

    Dagster turns the signal into an exception wherever the main thread is; out of a task group it would look like a
    failure of the work.

    Raises:
        DagsterExecutionInterruptedError: The run was cancelled.
    """
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        if group.subgroup(dg.DagsterExecutionInterruptedError):
            raise dg.DagsterExecutionInterruptedError from group
        raise
