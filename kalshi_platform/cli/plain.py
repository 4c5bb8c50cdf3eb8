"""How commands end: what the platform raises on purpose is one line and an exit code, not a traceback.

Exit codes: 0 done; 1 something broke, or a verdict is not exact; 2 a setting, argument or file is wrong.
Kept out: any command.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import typer

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable, PlatformError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def plainly(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Errors that the platform raises on purpose end as one line."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except (ConfigurationError, ExchangeRefused) as error:
            sys.stderr.write(f"kalshi-platform: {error}\n")
            raise typer.Exit(2) from None
        except ExchangeUnavailable as error:
            sys.stderr.write(f"kalshi-platform: {error}; `kalshi-platform doctor` looks for the cause\n")
            raise typer.Exit(1) from None
        except PlatformError as error:
            sys.stderr.write(f"kalshi-platform: {error}\n")
            raise typer.Exit(1) from None

    return run
