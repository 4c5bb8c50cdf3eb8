"""A recording as a local Kalshi-compatible socket and REST: the simulator, a process of its own, plays it.

Kept out: the simulator, which tools start and never import.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from kalshi_platform.tools.children import platform_command
from kalshi_platform.tools.recordings import find_recordings
from kalshi_platform.tools.zstd_frames import whole_length


def serve_recordings(paths: list[Path], options: Sequence[str]) -> int:
    """Serve the recordings until the simulator is told to stop; returns its exit code.

    Args:
        paths: Recorded files, or folders of them.
        options: Further options of `kalshi-platform simulate`.

    Raises:
        ConfigurationError: A path does not exist or holds no recording.
    """
    with TemporaryDirectory(prefix="kalshi-replay-") as name:
        folder = Path(name)
        for number, path in enumerate(find_recordings(paths)):
            _place(path, folder / f"{number:06d}-{path.name}")
        process = subprocess.Popen([*platform_command("simulate", "--replay", name), *options])  # noqa: S603 - ours
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal has told the simulator as well
            return process.wait()
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            process.wait()


def _place(path: Path, place: Path) -> None:
    """Have a recording under this name; of one that was cut, what is whole."""
    length = whole_length(path) if path.suffix == ".zst" else path.stat().st_size
    if length == path.stat().st_size:
        place.symlink_to(path.resolve())
        return
    with path.open("rb") as cut, place.open("wb") as whole:
        while length and (data := cut.read(min(length, 2**20))):
            whole.write(data)
            length -= len(data)
