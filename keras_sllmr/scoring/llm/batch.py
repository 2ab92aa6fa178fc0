"""Asks many questions through the Batch API: slower, and cheaper."""

import tempfile
import time
import uuid
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from pydantic import Field

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.scoring.llm.batch_calls import BatchCalls
from keras_sllmr.scoring.llm.batch_collect import Collector
from keras_sllmr.scoring.llm.batch_files import BatchFile
from keras_sllmr.scoring.llm.batch_ledger import BatchLedger
from keras_sllmr.scoring.llm.caps import Spending
from keras_sllmr.scoring.llm.client import Client
from keras_sllmr.scoring.llm.concurrency import ahead, run
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


class BatchEngine:
    """Hands in what the ledger lacks in rounds, and collects every answer.

    A round asks the next request of each question; failed requests and follow-ups are
    for the next round. A batch is in the ledger before the endpoint hears of it, so
    that no request is paid for twice, whenever the job is killed: the next run first
    collects what is under way.

    Args:
        connect: makes a client; called once an asking.
        ledger: of the answers.
        spending: what may be spent, at batch prices; knows the ledger's earlier
            spending.
        counter: counts a request's tokens before it is sent.
        settings: see `TransportSettings`.
        batch: see `BatchSettings`.

    Raises:
        ConfigError: when `spending` is not at batch prices.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        ledger: Ledger,
        *,
        spending: Spending,
        counter: TokenCounter,
        settings: TransportSettings | None = None,
        batch: BatchSettings | None = None,
    ) -> None:
        if not spending.batch:
            raise ConfigError(
                "Batches are charged at batch prices. Received: spending.batch=False. "
                "Make it with `Spending(…, batch=True)`."
            )
        self.connect, self.ledger = connect, ledger
        self.spending, self.counter = spending, counter
        self.settings = settings or TransportSettings()
        self.batch = batch or BatchSettings()

    def ask(
        self,
        questions: Iterable[Tagged],
        *,
        done: Callable[[Hashable], None] = lambda tag: None,
    ) -> Tally:
        """Asks every question to its end.

        Args:
            questions: (tag, question); gone through once a round, so it must give the
                same ones in the same order every time.
            done: called with a question's tag when it is through.

        Returns:
            What became of them. A cap ends the asking early; that is no error.

        Raises:
            ConfigError: when `questions` can be gone through only once.
            EndpointError: when the endpoint is down, or refuses. Batches under way are
                collected by the next run.
        """
        if iter(questions) is questions:
            raise ConfigError(
                "`questions` must be an iterable that can be gone through again. "
                f"Received: {type(questions).__name__}"
            )
        tally = Tally()
        path = self.ledger.path
        with (
            self.ledger.writing(),
            # Named so that the next writer clears it if this one is killed.
            tempfile.TemporaryDirectory(
                prefix=f".{path.name}.new-", dir=path.parent
            ) as folder,
        ):
            try:
                run(self._ask(questions, done, tally, Path(folder)))
            except EndpointError as error:
                raise EndpointError(f"{error}{self._under_way()}") from error
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"Interrupted.{self._under_way()}") from None
        return tally

    def _under_way(self) -> str:
        count = len(BatchLedger(self.ledger).opened())
        return f" Batches under way: {count}; the next run collects them."

    async def _ask(
        self,
        questions: Iterable[Tagged],
        done: Callable[[Hashable], None],
        tally: Tally,
        folder: Path,
    ) -> None:
        started = time.monotonic()
        try:
            async with self.connect() as client:
                rounds = _Rounds(self, client, done=done, tally=tally, folder=folder)
                await rounds.run(questions)
        finally:
            tally.seconds = time.monotonic() - started


class _Rounds:
    """The rounds of one asking."""

    def __init__(
        self,
        engine: BatchEngine,
        client: Client,
        *,
        done: Callable[[Hashable], None],
        tally: Tally,
        folder: Path,
    ) -> None:
        self.engine, self.done, self.tally = engine, done, tally
        self.ledger, self.spending = engine.ledger, engine.spending
        self.folder = folder
        self.calls = BatchCalls(client, engine.settings)
        self.batches = BatchLedger(engine.ledger)
        self.since = self.batches.first()
        self.finished = bytearray()
        self.file = self._empty()

    async def run(self, questions: Iterable[Tagged]) -> None:
        collector = Collector(
            self.calls,
            self.batches,
            spending=self.spending,
            tries=self.engine.settings.tries,
            since=self.since,
            tally=self.tally,
            folder=self.folder,
        )
        poll = self.engine.batch.poll_seconds
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
            self.engine.counter.bound(request.body),
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
            max_requests=self.engine.batch.max_requests_per_file,
            max_bytes=self.engine.batch.max_bytes_per_file,
        )
