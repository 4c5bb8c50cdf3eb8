"""What is kept of rejected frames."""

from kalshi_platform.core.errors import FrameRejected, Reason
from kalshi_platform.core.quarantine import KEPT_OF_A_TYPE, Quarantine


def test_all_are_counted_and_the_first_of_an_unknown_type_kept() -> None:
    """A new channel of the exchange does not fill the disk."""
    quarantine = Quarantine()
    kept = [quarantine.admit(FrameRejected(Reason.UNKNOWN_TYPE, "type 'new'")) for _ in range(100)]
    assert sum(kept) == KEPT_OF_A_TYPE
    assert quarantine.counts[Reason.UNKNOWN_TYPE] == 100
    assert quarantine.admit(FrameRejected(Reason.UNKNOWN_TYPE, "type 'newer'"))


def test_other_rejections_are_all_kept() -> None:
    """Each may hold a change that is nowhere else."""
    quarantine = Quarantine()
    assert all(quarantine.admit(FrameRejected(Reason.BAD_PRICE, "x")) for _ in range(100))
