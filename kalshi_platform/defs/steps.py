"""What every step does about errors: which are tried again, which never, and what a cancelled run leaves.

- Add here: what stands between Dagster's steps and the platform's rooms.
- Keep out: the work.
- Not Dagster's RetryPolicy: with one, a run that a person cancels is "tried again", for minutes, instead of ending.
- Dagster's word: op retries, https://docs.dagster.io/guides/build/ops/op-retries
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, IntegrityError, PlatformError

Result = TypeVar("Result")

_TRIES_AGAIN = 3
_FIRST_WAIT_SECONDS = 5


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
    except (ConfigurationError, ExchangeRefused, IntegrityError) as error:
        raise dg.Failure(f"{named}{error}", allow_retries=False) from error
    except (PlatformError, OSError) as error:  # a database, a disk or an exchange that may recover
        context.log.warning(f"{named}{error}")
        wait = _FIRST_WAIT_SECONDS * 2**context.retry_number
        raise dg.RetryRequested(max_retries=_TRIES_AGAIN, seconds_to_wait=wait) from error


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
