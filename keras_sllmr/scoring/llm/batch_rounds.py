"""Rounds of batches: a file of each question's next request, again and again."""

import uuid
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from pydantic import Field

from keras_sllmr.errors import EndpointError
from keras_sllmr.scoring.llm.batch_calls import BatchCalls
from keras_sllmr.scoring.llm.batch_collect import Collector
from keras_sllmr.scoring.llm.batch_files import BatchFile
from keras_sllmr.scoring.llm.batch_ledger import BatchLedger
from keras_sllmr.scoring.llm.caps import Spending
from keras_sllmr.scoring.llm.client import Client
from keras_sllmr.scoring.llm.concurrency import ahead
from keras_sllmr.scoring.llm.engine import Tagged
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Question, Request
from keras_sllmr.scoring.llm.tally import Tally
from keras_sllmr.scoring.llm.tokens import TokenCounter, completion_bound
from keras_sllmr.scoring.llm.transport import TransportSettings
from keras_sllmr.settings import Settings

# Questions drawn at a time.
_PART = 256


class BatchSettings(Settings):
    """How the Batch API is used.

    Args:
        max_requests_per_file: int.
        max_bytes_per_file: int, bytes.
        poll_seconds: float, seconds. Between looks at the batches under way.
    """

    max_requests_per_file: int = Field(50_000, ge=1)
    max_bytes_per_file: int = Field(100_000_000, ge=1)
    poll_seconds: float = Field(60.0, ge=0)


class Rounds:
    """The rounds of one asking.

    Args:
        client: of the endpoint.
        ledger: of the answers.
        spending: what may be spent.
        counter: counts a request's tokens before it is sent.
        settings: see `TransportSettings`.
        batch: see `BatchSettings`.
        done: called with a question's tag when it is through.
        tally: counts what happens.
        folder: for files on their way.
    """

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        *,
        spending: Spending,
        counter: TokenCounter,
        settings: TransportSettings,
        batch: BatchSettings,
        done: Callable[[Hashable], None],
        tally: Tally,
        folder: Path,
    ) -> None:
        self.ledger, self.batches = ledger, BatchLedger(ledger)
        self.spending, self.counter = spending, counter
        self.settings, self.batch = settings, batch
        self.done, self.tally, self.folder = done, tally, folder
        self.calls = BatchCalls(client, settings)
        self.since = self.batches.first()
        self.finished = bytearray()
        self.file = self._empty()

    async def run(self, questions: Iterable[Tagged]) -> None:
        """Collects what earlier runs left, then asks until nothing is open.

        Args:
            questions: (tag, question), the same ones each time it is gone through.
        """
        collector = Collector(
            self.calls,
            self.batches,
            spending=self.spending,
            tries=self.settings.tries,
            since=self.since,
            tally=self.tally,
            folder=self.folder,
        )
        poll = self.batch.poll_seconds
        await collector.recover()
        await collector.collect(poll)
        first = True
        while await self._hand_in(questions, first=first):
            refusals = await collector.collect(poll)
            if all(refusals):
                raise EndpointError(
                    f"The endpoint takes no batch: {refusals[0]}. Does it know the "
                    "model? Smaller files (`max_requests_per_file`) may fit its limits."
                )
            first = False

    async def _hand_in(self, questions: Iterable[Tagged], *, first: bool) -> bool:
        """Hands in a request of each question that has one; false if none has."""
        place, before = 0, self.tally.sent
        try:
            async for part in ahead(iter(questions), size=_PART):
                for tag, question in part:
                    if first:
                        self.finished.append(False)
                    if not self.finished[place]:
                        request = self._next(question, first=first)
                        if request is not None:
                            await self._put(request)
                        else:
                            self.finished[place] = True
                            self.tally.questions += 1
                            self.done(tag)
                    place += 1
            await self._submit()
        finally:
            for reservation in self.file.reservations.values():
                self.spending.release(reservation)
        return self.tally.sent > before

    def _next(self, question: Question, *, first: bool) -> Request | None:
        """The request that a question waits for, by the ledger."""
        answers: list[Answer] = []
        while (request := question.next(answers)) is not None:
            answer = self.ledger.get(request.key)
            asked = self.batches.tries(request.key, self.since)
            if answer is not None:
                self.tally.reused += first and not asked
            elif asked:
                answer = self.ledger.failure(request.key)
            if answer is None:
                return request
            answers.append(answer)
        return None

    async def _put(self, request: Request) -> None:
        """Puts a request into the file, unless it is there or a cap forbids it."""
        key = request.key
        if self.tally.stopped or key in self.file.reservations:
            return
        if self.batches.holds(key):
            return
        if not self.file.takes(request):
            await self._submit()
        bounds = (
            self.counter.bound(request.body),
            completion_bound(request.body),
        )
        reservation = self.spending.reserve(*bounds)
        if reservation is None:
            await self._submit()
            self.tally.stopped = self.spending.exhausted(*bounds)
        else:
            self.file.add(request, reservation)

    async def _submit(self) -> None:
        """Uploads the file, and has a batch made of it."""
        if not self.file.reservations:
            return
        uploaded = await self.calls.upload(self.file.path)
        handed, self.file = self.file, self._empty()
        # From here on the requests count as sent, whatever happens.
        batch = self.batches.open(
            uuid.uuid4().hex, self.calls.client.name, handed.reservations.items()
        )
        for reservation in handed.reservations.values():
            self.spending.leave(reservation)
        self.tally.sent += len(handed.reservations)
        created = await self.calls.create(uploaded, route=handed.route, tag=batch.tag)
        self.batches.name(batch.number, created.id)

    def _empty(self) -> BatchFile:
        return BatchFile(
            self.folder / "requests.jsonl",
            max_requests=self.batch.max_requests_per_file,
            max_bytes=self.batch.max_bytes_per_file,
        )
