"""What a check finds: a subject, how bad, what, and the remedy. Kept out: checks."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad something is; the worst one decides the exit code."""

    WELL = "well"
    NOTE = "note"  # worth knowing, nothing to do at once
    PROBLEM = "problem"
    SETTING = "setting"  # wrong as it is written: nothing else will help


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of the doctor; `remedy` says what to do, empty where all is well."""

    subject: str
    level: Level
    says: str
    remedy: str = ""


def well(subject: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(subject, Level.WELL, says)


def note(subject: str, says: str, remedy: str) -> Finding:
    """Worth knowing."""
    return Finding(subject, Level.NOTE, says, remedy)


def problem(subject: str, says: str, remedy: str) -> Finding:
    """Broken now."""
    return Finding(subject, Level.PROBLEM, says, remedy)


def setting(subject: str, says: str, remedy: str) -> Finding:
    """Written wrong."""
    return Finding(subject, Level.SETTING, says, remedy)


def exit_code(findings: list[Finding]) -> int:
    """0 all well, 1 a problem, 2 a setting that is wrong."""
    levels = {finding.level for finding in findings}
    return 2 if Level.SETTING in levels else 1 if Level.PROBLEM in levels else 0
