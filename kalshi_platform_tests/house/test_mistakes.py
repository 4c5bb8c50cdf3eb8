"""Every command with every kind of bad input: one line that says what to do, the exit code of its help, no traceback.

A command without an entry here fails, and so does an entry that leaves out a kind without saying why. Commands run in
this process, against a simulated exchange in another one and real databases.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from kalshi_platform.cli.app import app
from kalshi_platform.simulator import write_key_pair
from kalshi_platform.tools.own_exchange import OwnExchange, own_exchange

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
UNREADABLE = "/sys/bus/cpu/uevent"  # write-only for everybody, root too
UNWRITABLE = "/sys/kalshi"
NOWHERE = "postgresql://u:s3cret@127.0.0.1:1/k"
MYSQL = "mysql://u:s3cret@h/k"


class Kind(StrEnum):
    """Kinds of mistakes."""

    FILE = "missing file"
    ADDRESS = "bad address"
    KEY = "wrong key"
    PERMISSION = "no permission"
    TICKER = "unknown ticker"
    DATES = "wrong dates"


@dataclass(frozen=True)
class Mistake:
    """One command line, its settings, and how it ends; `{name}` is what the surroundings have of that name."""

    kind: Kind
    arguments: str
    says: str
    settings: Mapping[str, str] = field(default_factory=dict)
    code: int = 2


F, A, K, P, T, D = Kind
ABSENT_KEY = {"API_KEY_ID": "k", "PRIVATE_KEY_PATH": "absent.pem"}
LOCKED_KEY = {"API_KEY_ID": "k", "PRIVATE_KEY_PATH": UNREADABLE}
STRANGER = {"API_KEY_ID": "stranger", "PRIVATE_KEY_PATH": "private.pem", "REST_URL": "{rest}", "WS_URL": "{ws}"}
EXCHANGE = {"REST_URL": "{rest}"}
MEMBER = STRANGER | {"API_KEY_ID": "{key_id}", "PRIVATE_KEY_PATH": "{key}"}
NO_PRODUCTION = {"PRODUCTION_DATABASE_URL": NOWHERE}
NO_EXCHANGE = {"REST_URL": "nonsense"}
GATHERER, PRODUCTION = {"GATHERER_DATABASE_URL": "{gatherer}"}, {"PRODUCTION_DATABASE_URL": "{production}"}

MISTAKES: dict[str, list[Mistake]] = {
    "demo": [
        Mistake(F, "demo --live --no-dagster", "cannot read the private key at absent.pem", ABSENT_KEY),
        Mistake(A, "demo --live --no-dagster", "is no address of an exchange", STRANGER | NO_EXCHANGE),
        Mistake(K, "demo --live --no-dagster", "KALSHI_API_KEY_ID is not set"),
        Mistake(P, f"demo --no-dagster --seconds 1 --folder {UNWRITABLE}", f"cannot write below {UNWRITABLE}"),
    ],
    "gather": [
        Mistake(F, "gather", "cannot read the private key at absent.pem", GATHERER | ABSENT_KEY),
        Mistake(A, "gather", "must begin with postgresql://", STRANGER | {"GATHERER_DATABASE_URL": MYSQL}),
        Mistake(A, "gather", "is no address of an exchange", STRANGER | GATHERER | NO_EXCHANGE),
        Mistake(A, "gather", "KALSHI_METRICS_PORT", {"METRICS_PORT": "x"}),
        Mistake(A, "gather", "KALSHI_QUESTDB must read", STRANGER | GATHERER | {"QUESTDB": "nonsense"}),
        Mistake(K, "gather", "check the key", STRANGER | GATHERER),
        Mistake(K, "gather", "KALSHI_PRIVATE_KEY_PATH is not set", GATHERER),
        Mistake(P, "gather", f"cannot read the private key at {UNREADABLE}", GATHERER | LOCKED_KEY),
        Mistake(P, "gather", "127.0.0.1:1", STRANGER | {"GATHERER_DATABASE_URL": NOWHERE}, 1),
        Mistake(P, "gather", UNWRITABLE, STRANGER | GATHERER | {"SPOOL_DIRECTORY": UNWRITABLE}),
    ],
    "deduplicate": [
        Mistake(A, "deduplicate", "KALSHI_PRODUCTION_DATABASE_URL is not set"),
        Mistake(
            A,
            "deduplicate",
            "KALSHI_DEDUPLICATOR_SHARD must read `1/1`",
            PRODUCTION | {"GATHERERS": f"g={NOWHERE}", "DEDUPLICATOR_SHARD": "3/2"},
        ),
        Mistake(A, "deduplicate", "KALSHI_GATHERERS must read", PRODUCTION | {"GATHERERS": "x"}),
        Mistake(P, "deduplicate", "127.0.0.1:1", {"PRODUCTION_DATABASE_URL": NOWHERE, "GATHERERS": f"g={NOWHERE}"}, 1),
    ],
    "simulate": [
        Mistake(F, "simulate --replay absent.ndjson", "absent.ndjson does not exist"),
        Mistake(F, "simulate --key demo=absent.pem", "--key takes KEY_ID=public.pem"),
        Mistake(A, "simulate --port 0 --host 203.0.113.7", "cannot run the simulator"),
        Mistake(K, "simulate --key nonsense", "--key takes KEY_ID=public.pem"),
        Mistake(K, f"simulate --port 0 --key demo={UNREADABLE}", UNREADABLE),
        Mistake(P, f"simulate --port 0 --ledger {UNWRITABLE}.ndjson", UNWRITABLE),
        Mistake(D, "simulate --start yesterday", "--start takes a time with its zone"),
        Mistake(D, "simulate --pause soon", "a pause is AFTER=SECONDS"),
        Mistake(D, "simulate --speed fast", "--speed takes a number above 0, or max"),
        Mistake(F, "simulate --fault explode@3", "a fault is KIND@MESSAGE"),
        Mistake(A, "simulate --rest-failure 5", "--rest-failure takes N=STATUS"),
        Mistake(A, "simulate --rest-tier gold", "tier must be one of"),
    ],
    "migrate": [
        Mistake(A, f"migrate gatherer --url {MYSQL}", "must begin with postgresql://"),
        Mistake(A, "migrate production", "KALSHI_PRODUCTION_DATABASE_URL is not set"),
        Mistake(A, "migrate both", "'both' is not one of 'gatherer', 'production'."),
        Mistake(A, "migrate production --url {gatherer}", "it is no production database"),
        Mistake(P, f"migrate gatherer --url {NOWHERE}", "127.0.0.1:1", code=1),
        Mistake(P, "migrate gatherer --url {wrong_password}", "password authentication failed", code=1),
    ],
    "maintain": [
        Mistake(A, f"maintain gatherer --url {MYSQL}", "must begin with postgresql://"),
        Mistake(A, "maintain both", "'both' is not one of 'gatherer', 'production'."),
        Mistake(P, f"maintain production --url {NOWHERE}", "127.0.0.1:1", code=1),
    ],
    "backfill": [
        Mistake(A, "backfill --all --start 2026-11-01", "is no address of an exchange", PRODUCTION | NO_EXCHANGE),
        Mistake(A, "backfill --all --start 2026-11-01", "KALSHI_PRODUCTION_DATABASE_URL is not set", EXCHANGE),
        Mistake(F, "backfill --all --start 2026-11-01", "absent.pem", PRODUCTION | EXCHANGE | ABSENT_KEY),
        Mistake(K, "backfill --all --start 2026-11-01", "check the key", STRANGER | PRODUCTION),
        Mistake(P, "backfill --all --start 2026-11-01", "127.0.0.1:1", EXCHANGE | NO_PRODUCTION, 1),
        Mistake(T, "backfill --ticker KXNOBODY-1 --start 2026-11-01", "KXNOBODY-1", PRODUCTION | EXCHANGE),
        Mistake(D, "backfill --all --start 2026-11-02 --end 2026-11-01", "turn them round", PRODUCTION | EXCHANGE),
        Mistake(A, "backfill --start 2026-11-01", "choose one of the three", PRODUCTION | EXCHANGE),
        Mistake(D, "backfill --all --start 2026-11-01T10:00", "names no time zone", PRODUCTION | EXCHANGE),
        Mistake(D, "backfill --all --start soon", "--start takes a day", PRODUCTION | EXCHANGE),
    ],
    "record": [
        Mistake(K, "record tapes", "KALSHI_API_KEY_ID is not set"),
        Mistake(F, "record tapes", "cannot read the private key at absent.pem", ABSENT_KEY),
        Mistake(A, "record tapes", "is no address of an exchange", STRANGER | NO_EXCHANGE),
        Mistake(A, "record tapes --channel gossip", "there is no channel 'gossip'", STRANGER),
        Mistake(K, "record tapes", "check the key", STRANGER),
        Mistake(P, f"record {UNWRITABLE}", f"cannot record into {UNWRITABLE}", MEMBER),
        Mistake(T, "record tapes --series KXNOBODY", "KXNOBODY", MEMBER),
    ],
    "replay": [
        Mistake(F, "replay absent", "absent does not exist", GATHERER),
        Mistake(F, "replay absent --to socket", "absent does not exist"),
        Mistake(F, "replay absent --to feed", "absent does not exist"),
        Mistake(P, f"replay {UNREADABLE} --to feed", f"cannot read {UNREADABLE}"),
        Mistake(A, "replay private.pem", "KALSHI_GATHERER_DATABASE_URL is not set"),
        Mistake(A, "replay private.pem", "must begin with postgresql://", {"GATHERER_DATABASE_URL": MYSQL}),
        Mistake(P, f"replay {UNREADABLE}", f"cannot read {UNREADABLE}", GATHERER),
    ],
    "verify": [
        Mistake(F, "verify absent {production}", "absent"),
        Mistake(A, "verify private.pem", "say which database"),
        Mistake(A, f"verify private.pem {MYSQL}", "must begin with postgresql://"),
        Mistake(P, f"verify {UNREADABLE} {{production}}", UNREADABLE),
    ],
    "markets": [
        Mistake(F, "markets", "cannot read the private key at absent.pem", ABSENT_KEY | EXCHANGE),
        Mistake(A, "markets", "is no address of an exchange", NO_EXCHANGE),
        Mistake(A, "markets", "doctor` looks for the cause", {"REST_URL": "http://127.0.0.1:1/x"}, 1),
        Mistake(K, "markets", "check the key", STRANGER),
        Mistake(P, f"markets --output {UNWRITABLE}.ndjson", f"cannot write {UNWRITABLE}", EXCHANGE),
    ],
    "public-demo": [
        Mistake(A, "public-demo", "is no address of an exchange", NO_EXCHANGE),
        Mistake(A, "public-demo", "--simulate", {"REST_URL": "http://127.0.0.1:1/x"}, 1),
        Mistake(T, "public-demo --series KXNOBODY", "no series KXNOBODY", EXCHANGE),
        Mistake(T, "public-demo --series KXSIM000 --market KXNOBODY-1", "is called KXNOBODY-1", EXCHANGE),
    ],
    "preview": [
        Mistake(F, "preview absent.json", "cannot read absent.json: No such file"),
        Mistake(F, "preview private.pem", "is not JSON at line 1"),
        Mistake(A, "preview ftp://host/x", "a source is a file"),
        Mistake(A, "preview http://127.0.0.1:1/x", "cannot read http://127.0.0.1:1/x", code=1),
        Mistake(A, "preview http://", "no address that can be asked"),
        Mistake(A, "preview {rest}/absent", "answered 404"),
        Mistake(P, f"preview {UNREADABLE}", "Permission denied"),
        Mistake(P, "preview .", "Is a directory"),
    ],
    "status": [
        Mistake(A, "status", "KALSHI_GATHERERS must read", {"GATHERERS": "x"}),
        Mistake(A, "status", "no database is named"),
        Mistake(P, "status", "Connect call failed", {"PRODUCTION_DATABASE_URL": NOWHERE}, 1),
    ],
    "doctor": [
        Mistake(F, "doctor", "cannot read the private key", EXCHANGE | ABSENT_KEY),
        Mistake(A, "doctor", "KALSHI_REST_URL is no https:// address", NO_EXCHANGE),
        Mistake(K, "doctor", "the exchange refuses the key", STRANGER, 1),
        Mistake(P, "doctor", UNREADABLE, EXCHANGE | LOCKED_KEY),
    ],
    "questdb": [
        Mistake(A, "questdb", "KALSHI_QUESTDB is not set"),
        Mistake(A, "questdb", "KALSHI_QUESTDB must read", {"QUESTDB": "nonsense"}),
        Mistake(A, "questdb", "QuestDB at http://127.0.0.1:1", {"QUESTDB": "http::addr=127.0.0.1:1;"}, 1),
        Mistake(D, "questdb --day 2999-01-01", "is not over", {"QUESTDB": "http::addr=127.0.0.1:1;"}),
        Mistake(D, "questdb --day soon", "--day takes a date", {"QUESTDB": "http::addr=127.0.0.1:1;"}),
    ],
    "settings": [
        Mistake(A, "settings", "KALSHI_METRICS_PORT", {"METRICS_PORT": "x"}),
        Mistake(A, "settings", "KALSHI_LOG_FORMAT", {"LOG_FORMAT": "loud"}),
    ],
}

WITHOUT: dict[Kind, str] = {
    F: "deduplicate migrate maintain public-demo status questdb settings",  # they read no file that a person names
    A: "",
    K: "deduplicate migrate maintain replay verify public-demo preview status questdb settings",  # they sign nothing
    P: "public-demo questdb settings",  # the last one's own file is tried below, for all
    T: "demo gather deduplicate simulate migrate maintain replay verify preview status doctor questdb settings markets",
    D: "demo gather deduplicate migrate maintain record replay verify markets public-demo preview "
    "status doctor settings",
}
"""Commands that a kind of mistake cannot be made with; an unknown series of `markets` is an empty list."""


@dataclass(frozen=True)
class Surroundings:
    """What the commands are pointed at."""

    folder: Path
    names: Mapping[str, str]

    def run(self, mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> Result:
        """Run it in this process."""
        for name in [one for one in os.environ if one.startswith("KALSHI_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(self.folder)
        for name, value in ({"METRICS_PORT": "0"} | dict(mistake.settings)).items():
            monkeypatch.setenv(f"KALSHI_{name}", value.format(**self.names))
        return CliRunner().invoke(app, [one.format(**self.names) for one in mistake.arguments.split()])


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnExchange]:
    """A quiet exchange in a process of its own, for all of them."""
    with own_exchange("--markets", "20", "--rate", "0") as own:
        yield own


@pytest.fixture
def surroundings(request: pytest.FixtureRequest, mistake: Mistake, tmp_path: Path) -> Surroundings:
    """A folder with a key that nobody knows; of the exchange and the databases what the mistake names."""
    write_key_pair(tmp_path / "private.pem", tmp_path / "public.pem", "ed25519")
    text = " ".join((mistake.arguments, *mistake.settings.values()))
    names: dict[str, str] = {}
    if any(f"{{{name}}}" in text for name in ("rest", "ws")):
        own: OwnExchange = request.getfixturevalue("exchange")
        names |= {"rest": own.rest_url, "ws": own.ws_url, "key_id": own.key_id, "key": str(own.private_key)}
    if "{production}" in text:
        names["production"] = request.getfixturevalue("production_database")
    if "{gatherer}" in text or "{wrong_password}" in text:
        url: str = request.getfixturevalue("gatherer_database")
        user, _, place = url.rpartition("@")
        names |= {"gatherer": url, "wrong_password": f"{user.rpartition(':')[0]}:s3cret@{place}"}
    return Surroundings(tmp_path, names)


def test_no_command_and_no_kind_of_mistake_is_forgotten() -> None:
    """Whoever adds a command adds its mistakes."""
    assert set(MISTAKES) == set(COMMANDS)
    for kind in Kind:
        tried = {name for name, mistakes in MISTAKES.items() if any(one.kind is kind for one in mistakes)}
        assert tried | set(WITHOUT[kind].split()) == set(COMMANDS), kind
        assert tried.isdisjoint(WITHOUT[kind].split()), kind


@pytest.mark.skipif(not Path(UNREADABLE).exists(), reason="needs a file that root may not read either")
@pytest.mark.parametrize(
    "mistake",
    [one for mistakes in MISTAKES.values() for one in mistakes],
    ids=lambda one: f"{one.arguments}-{one.kind}-{one.says}".replace("/", "_"),
)
def test_a_mistake_ends_in_plain_words(
    mistake: Mistake, surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit code, what is wrong, no traceback, no secret."""
    result = surroundings.run(mistake, monkeypatch)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == mistake.code, result.output
    assert mistake.says in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output
    assert "s3cret" not in result.output


@pytest.mark.skipif(not Path(UNREADABLE).exists(), reason="needs a file that root may not read either")
@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"doctor", "simulate", "preview"}))
def test_settings_that_may_not_be_read(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` of somebody else's stops every command that reads settings."""
    (tmp_path / ".env").symlink_to(UNREADABLE)
    arguments = {"demo": "demo --live --no-dagster", "migrate": "migrate gatherer", "maintain": "maintain gatherer",
                 "replay": "replay x", "verify": "verify x postgresql://u@h/k", "record": "record x",
                 "backfill": "backfill --all --start 2026-11-01"}.get(command, command)  # fmt: skip
    result = Surroundings(tmp_path, {}).run(Mistake(P, arguments, ""), monkeypatch)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    if command != "verify":
        assert (result.exit_code, ".env cannot be read" in result.output) == (2, True), result.output


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_is_worth_reading(command: str) -> None:
    """What it does, how it ends; within 80 columns, without colour."""
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    assert len(result.output) > 400
    assert "Exit codes:" in result.output
    assert "\x1b" not in result.output
    assert max(map(len, result.output.splitlines())) <= 80
