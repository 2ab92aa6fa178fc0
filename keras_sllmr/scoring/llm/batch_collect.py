"""Waits for the batches of a ledger, and takes their answers in."""

import asyncio
import itertools
from pathlib import Path

from openai.types import Batch

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.batch_calls import BatchCalls
from keras_sllmr.scoring.llm.batch_files import read_lines
from keras_sllmr.scoring.llm.batch_ledger import BatchLedger, OpenBatch, Sending
from keras_sllmr.scoring.llm.caps import Spending
from keras_sllmr.scoring.llm.client import Unanswered
from keras_sllmr.scoring.llm.request import Answer
from keras_sllmr.scoring.llm.tally import Tally

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
# Lines that are committed together.
_PART = 500


class Collector:
    """Collects batches, whichever process handed them in.

    Args:
        calls: of the endpoint.
        batches: of the ledger.
        spending: where the batches' reservations were left.
        tries: int. Sendings of one request before it is given up.
        since: int. The first sending that counts as a try.
        tally: counts what happens.
        folder: for downloads.
    """

    def __init__(
        self,
        calls: BatchCalls,
        batches: BatchLedger,
        *,
        spending: Spending,
        tries: int,
        since: int,
        tally: Tally,
        folder: Path,
    ) -> None:
        self.calls, self.batches, self.ledger = calls, batches, batches.ledger
        self.spending, self.tries, self.since = spending, tries, since
        self.tally, self.folder = tally, folder

    async def recover(self) -> None:
        """Finds the batches that a job was about to create when it died.

        Raises:
            ConfigError: when there are batches at another endpoint.
        """
        for batch in self.batches.opened():
            if batch.endpoint != self.calls.client.name:
                raise ConfigError(
                    f"Requests are under way in a batch at {batch.endpoint}, which "
                    "must be asked for it. Received: base_url="
                    f"{self.calls.client.name}. Collect it first, or name another "
                    "ledger."
                )
            if batch.name is None:
                found = await self.calls.find(batch.tag)
                if found is None:
                    self._withdraw(batch)
                else:
                    self.batches.name(batch.number, found.id)

    async def collect(self, poll_seconds: float) -> list[str]:
        """Waits until no batch is under way.

        Returns:
            For each batch why the endpoint did not take it; empty if it did.
        """
        refusals = []
        while opened := self.batches.opened():
            for batch in opened:
                remote = await self.calls.retrieve(batch.name or "")
                if remote.status in _ENDED:
                    refusals.append(await self._take_in(batch, remote))
            if self.batches.opened():
                await asyncio.sleep(poll_seconds)
        return refusals

    async def _take_in(self, batch: OpenBatch, remote: Batch) -> str:
        if remote.status == "failed":
            # Its file was refused as a whole: no request was run.
            self._withdraw(batch)
            return _refusal(remote)
        lost = False
        for file in (remote.output_file_id, remote.error_file_id):
            if file:
                path = self.folder / "answers.jsonl"
                if await self.calls.download(file, path):
                    await self._read(batch, path)
                else:
                    lost = True
        ended = "missing" if remote.status == "completed" else f"batch {remote.status}"
        # A file that is gone held answers, which were billed.
        error = Unanswered("lost" if lost else ended, retry=True, billed=lost)
        with self.ledger.transaction():
            for sending in self.batches.under_way(batch.number):
                self._unanswered(sending, error)
            self.batches.close(batch.number)
        return ""

    async def _read(self, batch: OpenBatch, path: Path) -> None:
        lines = read_lines(path)
        while part := list(itertools.islice(lines, _PART)):
            with self.ledger.transaction():
                for key, outcome in part:
                    # Unknown, a repetition, or taken in before the job was killed.
                    known = self.batches.under_way(batch.number, key)
                    self.tally.ignored += not known
                    for sending in known:
                        if isinstance(outcome, Answer):
                            self._answered(sending, outcome)
                        else:
                            self._unanswered(sending, outcome)
            await asyncio.sleep(0)

    def _answered(self, sending: Sending, answer: Answer) -> None:
        reserved = self.spending.resume(sending.prompt, sending.completion)
        usd = self.spending.settle(reserved, answer.usage)
        self.ledger.answer(sending.number, sending.key, answer, usd=usd)
        self.tally.answered += 1

    def _unanswered(self, sending: Sending, error: Unanswered) -> None:
        reserved = self.spending.resume(sending.prompt, sending.completion)
        if error.billed:
            self.spending.settle(reserved, None)
        else:
            self.spending.release(reserved)
        self.ledger.unanswered(sending.number, error.reason, billed=error.billed)
        spent = self.batches.tries(sending.key, self.since) >= self.tries
        if spent or not error.retry:
            self.ledger.give_up(sending.key, error.reason)
            self.tally.failed[error.reason] += 1

    def _withdraw(self, batch: OpenBatch) -> None:
        for sending in self.batches.under_way(batch.number):
            self.spending.withdraw(sending.prompt, sending.completion)
        self.batches.withdraw(batch.number)


def _refusal(remote: Batch) -> str:
    errors = (remote.errors and remote.errors.data) or []
    told = "; ".join(f"{error.code}: {error.message}" for error in errors[:3])
    return told or "no reason given"
