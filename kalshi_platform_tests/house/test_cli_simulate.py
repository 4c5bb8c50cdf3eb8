"""`kalshi-platform simulate`: its flags are the simulator's options, with the same defaults, in a help in groups."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kalshi_platform import simulator
from kalshi_platform.cli.app import app
from kalshi_platform.service import logs
from kalshi_platform.simulator import Pause, SimulatorOptions
from kalshi_platform.simulator.rest.options import RestOptions

NOT_ON_THE_COMMAND_LINE = {"activity_skew", "tick_ms", "heartbeat_seconds", "recent_trades"}


def _chosen(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> SimulatorOptions:
    """The options that a command line means."""
    caught: list[SimulatorOptions] = []
    monkeypatch.setattr(simulator, "run", caught.append)
    monkeypatch.setattr(logs, "configure_logs", lambda _: None)  # it would keep the runner's stderr for ever
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 0, result.output
    return caught[0]


def test_a_bare_command_is_the_default_exchange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Apart from the port, which a person wants to know beforehand, and a key, without which nobody gets in."""
    chosen, usual = _chosen(monkeypatch, tmp_path), SimulatorOptions()
    for field in fields(SimulatorOptions):
        if field.name not in ("port", "keys"):
            assert getattr(chosen, field.name) == getattr(usual, field.name), field.name
    assert chosen.port == 8080
    assert list(chosen.keys) == ["simulator"]


def test_every_option_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each field changes with its flag."""
    (tmp_path / "script.json").write_text('[{"kind": "drop", "message": 5}]')
    arguments = """
        --port 0 --host 0.0.0.0 --markets 7 --combos 2 --busy-markets 5 --rate 9 --swing 0 --trading 2 --seed 3
        --seconds 4 --ledger l.parquet --ready-file r --new-market-seconds 1 --close-market-seconds 2
        --new-combo-seconds 3
        --change-market-seconds 4 --silent-share 0.5 --rest-delay-seconds 6 --market-life-hours 7 --time-scale 8
        --start 2026-11-18T17:00:00Z --maintenance --pause 30=10! --replay tape.ndjson --speed max
        --replay-wait-seconds 2 --connection-cap 3 --compression --subscription-markets 4 --commands-per-second 5
        --send-buffer-bytes 6 --rest-tier prime --rest-cost 0 --rest-cache-seconds 1 --rest-failure 5=503
        --rest-cutoff 2026-11-01T00:00:00Z --rest-omit-last-cursor --fault cut@9 --faults script.json
        --fault-rate 0.5 --fault-seed 2
    """
    chosen, usual = _chosen(monkeypatch, tmp_path, *arguments.split()), SimulatorOptions()
    same = {one.name for one in fields(SimulatorOptions) if getattr(chosen, one.name) == getattr(usual, one.name)}
    assert same == NOT_ON_THE_COMMAND_LINE | {"port"}
    assert (chosen.start_ms, chosen.replay_speed) == (1_795_021_200_000, inf)
    assert chosen.pauses == (Pause(30, 10, drops_sockets=True),)
    assert [str(one.kind) for one in chosen.faults.script] == ["cut", "drop"]
    assert chosen.rest == RestOptions(
        tier="prime", default_cost=0, cache_seconds=1, failures={5: 503}, historical_cutoff_ms=1_793_491_200_000,
        omit_last_cursor=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_tape_from_the_command_line(tmp_path: Path) -> None:
    """One process that says on stderr, in lines of JSON, that it is ready and what it waits for; a whole ledger."""
    message = {"market_ticker": "KXA-1", "price_dollars": "0.4000", "delta_fp": "1.00", "side": "yes", "ts_ms": 1000}
    line: dict[str, Any] = {"recv_ms": 1000, "event": {"type": "orderbook_delta", "sid": 1, "seq": 1, "msg": message}}
    (tmp_path / "tape.ndjson").write_text((json.dumps(line) + "\n") * 5)
    command = [sys.executable, "-m", "kalshi_platform.cli", "simulate", "--port", "0", "--replay", "tape.ndjson"]
    process = subprocess.Popen(
        [*command, "--speed", "max", "--ledger", "l.ndjson"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        assert process.stderr is not None
        ready = json.loads(process.stderr.readline())
        assert (ready["event"], ready["markets"], ready["replay"]) == ("ready", 1, "tape.ndjson")
        waiting = json.loads(process.stderr.readline())
        assert (waiting["event"], waiting["frames"]) == ("waiting for a subscription before the tape begins", 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert json.loads((tmp_path / "l.ndjson").read_text().splitlines()[-1])["kind"] == "end"
    finally:
        process.kill()
        process.communicate()
