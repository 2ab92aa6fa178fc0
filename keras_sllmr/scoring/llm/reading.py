"""What is read of a ledger for one result: its answers, cost and problems."""

from collections import Counter
from typing import Any

from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Question

UNASKED = "not asked"


class Reading:
    """Reads questions' answers, and keeps account of what they came to.

    Args:
        ledger: of the answers.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.requests = self.prompt = self.completion = self.cached = 0
        self.usd = 0.0
        self.failed: Counter[str] = Counter()
        #: how often each kind of bad answer came; for the reader to count.
        self.problems: Counter[str] = Counter()

    def answers(self, question: Question) -> list[Answer]:
        """A question's answers, as far as the ledger has them."""
        answers, lacking = self.ledger.replay(question)
        for key, answer in answers.items():
            self.requests += 1
            self.prompt += answer.usage.prompt
            self.completion += answer.usage.completion
            self.cached += answer.usage.cached
            self.usd += self.ledger.usd(key)
        if lacking is not None:
            failure = self.ledger.failure(lacking.key)
            self.failed[failure.reason if failure else UNASKED] += 1
        return list(answers.values())

    def report(self, *, stopped: str, priced: bool) -> dict[str, Any]:
        """As plain values, with the totals of the ledger's whole life.

        Args:
            stopped: the cap that ended the asking; empty if none did.
            priced: whether anything is said in USD.
        """
        totals = self.ledger.totals()
        return {
            "requests": self.requests,
            "tokens": self.prompt + self.completion,
            "prompt_tokens": self.prompt,
            "cached_tokens": self.cached,
            "completion_tokens": self.completion,
            "usd": round(self.usd, 6) if priced else None,
            "failed": dict(sorted(self.failed.items())),
            "problems": dict(sorted(self.problems.items())),
            "ledger": {
                "requests": totals.requests,
                "prompt_tokens": totals.prompt_tokens,
                "completion_tokens": totals.completion_tokens,
                "usd": round(totals.usd, 6) if priced else None,
                "outcomes": dict(sorted(totals.outcomes.items())),
            },
            "stopped_by": stopped or None,
        }
