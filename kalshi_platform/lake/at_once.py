"""Asking the lake many small questions at once: footers and manifests of hours, which a bucket takes a while for.

Kept out: what is asked.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_THREADS = 16
_FEW = 3
"""So many are asked one after the other: threads would take longer to start."""


def at_once(ask: Callable[[Question], Answer], questions: Sequence[Question]) -> list[Answer]:
    """The answers in the order of the questions; the first error of one is raised."""
    if len(questions) <= _FEW:
        return [ask(question) for question in questions]
    with ThreadPoolExecutor(min(_THREADS, len(questions)), "lake") as threads:
        return list(threads.map(ask, questions))
