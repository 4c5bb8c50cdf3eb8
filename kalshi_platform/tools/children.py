"""Child processes that outlive neither their work nor their parent.

Each runs in a session of its own, so that Ctrl-C in the terminal reaches only the parent, which then stops its
children in order; on Linux the kernel stops them too should the parent be killed. Kept out: what the children do.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.service.lifecycle import EXIT_CONFIGURATION

_MOST_RESTARTS = 20
_LOG_TAIL = 12

# Runs in a fresh Python between us and the program: gives up root where asked, hears SIGINT again (a shell without a
# terminal starts its background jobs deaf to it), asks the kernel (Linux) for a signal
# when the parent dies, and becomes the program, which so stays our direct child. A preexec_fn would do the same but
# may deadlock in a process with threads. The kernel's "parent" is the THREAD that started the child.
_LAUNCHER = """
import os, signal, sys
on_linux = sys.platform == "linux"
if on_linux:
    import ctypes
    prctl = ctypes.CDLL(None).prctl
parent, uid, gid, program, *arguments = sys.argv[1:]
if uid:  # nothing is imported from here on: the user that we become may not be able to read this Python
    os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
signal.signal(signal.SIGINT, signal.SIG_DFL)
if on_linux:
    prctl(1, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent died before its child started")
os.execv(program, [program, *arguments])
"""


def launch(
    command: Sequence[str],
    log_file: Path,
    environment: Mapping[str, str],
    cwd: Path,
    user: tuple[int, int] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a program that ends with its parent; its output goes behind what the log file holds already.

    Args:
        command: Absolute path of the program, and its arguments; never a secret among them.
        log_file: Takes standard output and standard error.
        environment: The child's whole environment.
        cwd: Where it starts.
        user: User and group id to become first; None stays what we are.
    """
    identity = ("", "") if user is None else (str(user[0]), str(user[1]))
    with log_file.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - callers name programs of ours
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *identity, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env=dict(environment),
            start_new_session=True,
        )


def platform_command(*arguments: str) -> list[str]:
    """The command line of one of our own commands."""
    return [sys.executable, "-m", "kalshi_platform.cli", *arguments]


def plain_environment(**settings: str) -> dict[str, str]:
    """What any program needs of our environment, and the settings meant for it."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **settings}


class Child:
    """A program that is started again when it dies.

    Args:
        name: What people call it.
        command: Absolute path of the program, and its arguments.
        environment: Its whole environment.
        folder: Where its log goes.
        may_restart: Whether another start goes on where the last one ended.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        may_restart: bool = True,
    ) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self.restarts = 0
        self._may_restart = may_restart
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it."""
        self._process = launch(self._command, self.log_file, self._environment, Path.cwd())

    def keep_running(self) -> bool:
        """Start it again if it has died; true where that was so.

        Raises:
            PlatformError: Where it dies again and again; the text ends with its last log lines.
        """
        if self.is_running:
            return False
        if not self._may_restart or self.restarts >= _MOST_RESTARTS or self._gave_up():
            raise PlatformError(f"{self.name} cannot run:\n{self.last_lines()}")
        self.restarts += 1
        self.start()
        return True

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, patience: float = 10.0) -> None:
        """Ask it to end, and make it and its own children end where it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        with suppress(ProcessLookupError):  # it leads a session of its own: whoever is left in it goes too
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def last_lines(self) -> str:
        """The end of its log."""
        if not self.log_file.exists():
            return "it said nothing"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL:])

    def _gave_up(self) -> bool:
        """Whether it ended by its own decision that a person must act (exit code 2)."""
        return self._process is not None and self._process.returncode == EXIT_CONFIGURATION
