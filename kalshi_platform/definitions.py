"""The code location that Dagster loads: assembly only, everything else lives in `kalshi_platform.defs`."""

from kalshi_platform.defs.build import build_defs

defs = build_defs()
