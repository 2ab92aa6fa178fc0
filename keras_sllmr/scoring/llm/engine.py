"""Asks many questions at once, and keeps every answer in the ledger."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator

from keras_sllmr.scoring.llm.caps import Spending
from keras_sllmr.scoring.llm.client import Client
from keras_sllmr.scoring.llm.concurrency import ahead, feed_and_work, run
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Question
from keras_sllmr.scoring.llm.sender import CapReached, Sender
from keras_sllmr.scoring.llm.tally import Tally
from keras_sllmr.scoring.llm.tokens import TokenCounter
from keras_sllmr.scoring.llm.transport import TransportSettings

# Questions drawn and waiting, for each one under way.
_AHEAD = 4

Tagged = tuple[Hashable, Question]


class Engine:
    """Sends what the ledger lacks: bounded, limited, capped, retried.

    Args:
        connect: makes a client; called once an asking.
        ledger: of the answers.
        spending: what may be spent; knows the ledger's earlier spending.
        counter: counts a request's tokens before it is sent.
        settings: see `TransportSettings`.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        ledger: Ledger,
        *,
        spending: Spending,
        counter: TokenCounter,
        settings: TransportSettings | None = None,
    ) -> None:
        self.connect, self.ledger = connect, ledger
        self.spending, self.counter = spending, counter
        self.settings = settings or TransportSettings()

    def ask(
        self,
        questions: Iterable[Tagged],
        *,
        done: Callable[[Hashable], None] = lambda tag: None,
    ) -> Tally:
        """Asks every question to its end.

        Args:
            questions: (tag, question), drawn in order as the asking goes on.
            done: called with a question's tag when it is through.

        Returns:
            What became of them. A cap ends the asking early; that is no error.

        Raises:
            EndpointError: when the endpoint is down, or refuses every request. Answers
                that came are kept: asked again, only the rest is sent.
        """
        tally = Tally()
        with self.ledger.writing():
            run(self._ask(iter(questions), done, tally))
        return tally

    async def _ask(
        self,
        questions: Iterator[Tagged],
        done: Callable[[Hashable], None],
        tally: Tally,
    ) -> None:
        started = time.monotonic()
        many = self.settings.concurrency
        queue: asyncio.Queue[Tagged | None] = asyncio.Queue(_AHEAD * many)

        async def feed() -> None:
            async for part in ahead(questions, size=_AHEAD * many):
                for question in part:
                    await queue.put(question)
            for _ in range(many):
                await queue.put(None)

        async def work(sender: Sender) -> None:
            while not tally.stopped and (taken := await queue.get()) is not None:
                tag, question = taken
                answers: list[Answer] = []
                try:
                    while (request := question.next(answers)) is not None:
                        answers.append(await sender.answer(request))
                except CapReached as reached:
                    # What is under way may end: it is paid for.
                    tally.stopped = str(reached)
                    return
                tally.questions += 1
                done(tag)
                # Else questions that the ledger answers would never let others run.
                await asyncio.sleep(0)

        try:
            async with contextlib.aclosing(self.connect()) as client:
                sender = Sender(
                    client,
                    self.ledger,
                    spending=self.spending,
                    counter=self.counter,
                    settings=self.settings,
                    tally=tally,
                )
                await feed_and_work(feed(), [work(sender) for _ in range(many)])
        finally:
            tally.seconds = time.monotonic() - started
