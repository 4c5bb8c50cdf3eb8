"""An exchange that anybody can run: Kalshi's REST and WebSocket protocol on one port, with seeded traffic and a ledger.

It imports nothing of the platform, so that a misreading of the protocol cannot hide on both sides. Start with
`server` for the process, `session` for what a client may say, `order_flow` for where the traffic comes from.
"""

from kalshi_platform.simulator.clock import Clock, HandClock
from kalshi_platform.simulator.faults import Fault, FaultKind, FaultOptions, parse_fault, read_script
from kalshi_platform.simulator.keys import KeyKind, write_key_pair
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.pauses import Pause, parse_pause
from kalshi_platform.simulator.recording import RecordingError
from kalshi_platform.simulator.server import Simulator, run, running, serve

__all__ = [
    "Clock",
    "Fault",
    "FaultKind",
    "FaultOptions",
    "HandClock",
    "KeyKind",
    "Pause",
    "RecordingError",
    "Simulator",
    "SimulatorOptions",
    "parse_fault",
    "parse_pause",
    "read_script",
    "run",
    "running",
    "serve",
    "write_key_pair",
]
