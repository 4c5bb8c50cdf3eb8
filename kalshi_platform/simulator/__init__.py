"""An exchange that anybody can run: Kalshi's REST and WebSocket protocol on one port, with seeded traffic and a ledger.

It imports nothing of the platform, so that a misreading of the protocol cannot hide on both sides. Start with
`server` for the process, `session` for what a client may say, `order_flow` for where the traffic comes from.
"""

from kalshi_platform.simulator.faults import Fault, FaultKind, FaultOptions, parse_fault, read_script
from kalshi_platform.simulator.keys import KeyKind, write_key_pair
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.server import Simulator, run, running, serve

__all__ = [
    "Fault",
    "FaultKind",
    "FaultOptions",
    "KeyKind",
    "Simulator",
    "SimulatorOptions",
    "parse_fault",
    "read_script",
    "run",
    "running",
    "serve",
    "write_key_pair",
]
