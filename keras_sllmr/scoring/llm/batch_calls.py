"""Calls of the Batch API, each retried until it is through or there is no use."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import openai
import tenacity
from openai.types import Batch

from keras_sllmr.errors import EndpointError
from keras_sllmr.io.atomic import replace_file
from keras_sllmr.scoring.llm.client import FAILURES, Client, Unanswered
from keras_sllmr.scoring.llm.retries import require_use, retrying
from keras_sllmr.scoring.llm.transport import TransportSettings

Value = TypeVar("Value")

_WINDOW: Any = "24h"
_TAG = "sllmr"


class BatchCalls:
    """Uploads, creates, polls and downloads.

    Every call is tried `tries` times, and for `down_after` at least: a batch takes
    hours, and a network that is away for minutes should not end the wait.

    Args:
        client: of the endpoint.
        settings: see `TransportSettings`.

    Raises:
        EndpointError: from every method, when the endpoint is down or refuses.
    """

    def __init__(self, client: Client, settings: TransportSettings) -> None:
        self.client, self.settings = client, settings

    async def upload(self, path: Path) -> str:
        """Uploads a file of requests, and returns its id."""

        async def call() -> str:
            with path.open("rb") as file:
                uploaded = await self.client.openai.files.create(
                    file=file, purpose="batch"
                )
            return uploaded.id

        return await self._call("upload a batch", call)

    async def create(self, file: str, *, route: str, tag: str) -> Batch:
        """Creates a batch of an uploaded file; one of the same tag is not repeated."""
        tried = False

        async def call() -> Batch:
            nonlocal tried
            # A lost answer to the first try says nothing about the batch.
            if tried and (found := await self._listed(tag)) is not None:
                return found
            tried = True
            endpoint: Any = route
            return await self.client.openai.batches.create(
                input_file_id=file,
                endpoint=endpoint,
                completion_window=_WINDOW,
                metadata={_TAG: tag},
            )

        return await self._call("create a batch", call)

    async def find(self, tag: str) -> Batch | None:
        """The batch of a tag, if it was ever created."""
        return await self._call("list the batches", lambda: self._listed(tag))

    async def retrieve(self, name: str) -> Batch:
        """How a batch is doing."""
        return await self._call(
            f"tell about the batch {name}",
            lambda: self.client.openai.batches.retrieve(name),
        )

    async def download(self, file: str, path: Path) -> bool:
        """Streams a file to disk; false if the endpoint has it no more."""

        async def call() -> bool:
            files = self.client.openai.files.with_streaming_response
            try:
                async with files.content(file) as response:
                    with replace_file(path) as beside:
                        await response.stream_to_file(beside)
            except openai.NotFoundError:
                return False
            return True

        return await self._call("send a batch's answers", call)

    async def _listed(self, tag: str) -> Batch | None:
        async for batch in self.client.openai.batches.list(limit=100):
            if (batch.metadata or {}).get(_TAG) == tag:
                return batch
        return None

    async def _call(self, what: str, call: Callable[[], Awaitable[Value]]) -> Value:
        stop = tenacity.stop_all(
            tenacity.stop_after_attempt(self.settings.tries),
            tenacity.stop_after_delay(self.settings.down_after),
        )
        try:
            value: Value = await retrying(self.settings, stop=stop)(self._once, call)
        except Unanswered as error:
            raise EndpointError(
                f"The endpoint did not {what}: {error.reason}. {error.message}"
            ) from error
        return value

    async def _once(self, call: Callable[[], Awaitable[Value]]) -> Value:
        try:
            return await call()
        except httpx2.TransportError as error:
            # While a body is streamed, the `openai` client does not step in.
            raise Unanswered("connection", retry=True, down=True) from error
        except FAILURES as error:
            failure = self.client.unanswered(error)
            require_use(failure, self.settings)
            raise failure from None
