"""Asks many questions through the Batch API: slower, and cheaper."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.scoring.llm.batch_ledger import BatchLedger
from keras_sllmr.scoring.llm.batch_rounds import BatchSettings, Rounds
from keras_sllmr.scoring.llm.caps import Spending
from keras_sllmr.scoring.llm.client import Client
from keras_sllmr.scoring.llm.concurrency import run
from keras_sllmr.scoring.llm.engine import Engine, Tagged
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.tally import Tally
from keras_sllmr.scoring.llm.tokens import TokenCounter
from keras_sllmr.scoring.llm.transport import TransportSettings


class BatchEngine(Engine):
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
        super().__init__(
            connect, ledger, spending=spending, counter=counter, settings=settings
        )
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
                run(self._ask_in_rounds(questions, done, tally, Path(folder)))
            except EndpointError as error:
                raise EndpointError(f"{error}{self._under_way()}") from error
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"Interrupted.{self._under_way()}") from None
        return tally

    def _under_way(self) -> str:
        count = len(BatchLedger(self.ledger).opened())
        return f" Batches under way: {count}; the next run collects them."

    async def _ask_in_rounds(
        self,
        questions: Iterable[Tagged],
        done: Callable[[Hashable], None],
        tally: Tally,
        folder: Path,
    ) -> None:
        started = time.monotonic()
        try:
            async with contextlib.aclosing(self.connect()) as client:
                rounds = Rounds(
                    client,
                    self.ledger,
                    spending=self.spending,
                    counter=self.counter,
                    settings=self.settings,
                    batch=self.batch,
                    done=done,
                    tally=tally,
                    folder=folder,
                )
                await rounds.run(questions)
        finally:
            tally.seconds = time.monotonic() - started
