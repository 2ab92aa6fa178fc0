"""What became of the questions of one asking."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """Counts of one asking; every question is in `questions` once it is through.

    Args:
        questions: int. Asked to their end.
        sent: int. Requests sent, retries included.
        answered: int. Requests that brought an answer.
        reused: int. Requests whose answer the ledger had already.
        failed: how many requests were given up, by reason.
        ignored: int. Lines of batch outputs that belong to no request under way.
        stopped: str. The cap that ended the asking; empty if none did.
        seconds: float.
    """

    questions: int = 0
    sent: int = 0
    answered: int = 0
    reused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    ignored: int = 0
    stopped: str = ""
    seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "questions": self.questions,
            "requests_sent": self.sent,
            "answered": self.answered,
            "from_ledger": self.reused,
            "failed": dict(sorted(self.failed.items())),
            "ignored": self.ignored,
            "stopped_by": self.stopped or None,
            "seconds": round(self.seconds, 1),
        }
