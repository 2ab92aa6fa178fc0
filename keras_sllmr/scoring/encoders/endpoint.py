"""Text vectors from an OpenAI-compatible embeddings endpoint."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.scoring.llm.embedding import EmbeddingQuestion
from keras_sllmr.scoring.llm.engine import Engine


class EndpointEncoder:
    """Encodes texts by requests, each answered once and kept in the engine's ledger.

    Args:
        engine: asks what its ledger lacks.
        model: str. The embedding model.
        dimensions: int. Components to ask for. Defaults to the model's own number.
        batch_size: int. Texts a request. Defaults to `128`.
        endpoint: str. What stands for the endpoint in the ledger.

    Raises:
        ConfigError: when `batch_size` is not positive.
    """

    def __init__(
        self,
        engine: Engine,
        model: str,
        *,
        dimensions: int | None = None,
        batch_size: int = 128,
        endpoint: str = "",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(
                f"`batch_size` must be positive. Received: batch_size={batch_size}"
            )
        self.engine, self.model, self.name = engine, model, model
        self.dimensions, self.batch_size = dimensions, batch_size
        self.endpoint = endpoint

    def encode(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of texts.

        Args:
            texts: `[n]`. A blank text has the zero vector.
            progress: called with (texts done, all texts).

        Returns:
            float32 `[n, d]`.

        Raises:
            EndpointError: when some texts have no vector in the end; what came is kept,
                and a second call asks for the rest alone.
        """
        done = 0

        def tell(_: object) -> None:
            nonlocal done
            done = min(done + self.batch_size, len(texts))
            if progress:
                progress(done, len(texts))

        questions = list(self._questions(texts))
        tally = self.engine.ask(list(enumerate(questions)), done=tell)
        parts, problems = [], Counter[str]()
        for question in questions:
            answers, _ = self.engine.ledger.replay(question)
            vectors, found = question.vectors(list(answers.values()))
            parts.append(vectors)
            problems += found
        size = max((part.shape[1] for part in parts), default=0)
        if (
            tally.stopped
            or problems["missing"]
            or any(part.shape[1] not in (0, size) for part in parts)
        ):
            raise EndpointError(
                f"Every text needs a vector of one size. Received: {dict(problems)}, "
                f"failures {dict(tally.failed)}, stopped by "
                f"{tally.stopped or 'nothing'}. What came is kept; run this again for "
                "the rest, with a higher cap if one was reached."
            )
        return np.concatenate(
            [np.zeros((0, size), np.float32)]
            + [
                part if part.shape[1] else np.zeros((len(part), size), np.float32)
                for part in parts
            ]
        )

    def _questions(self, texts: Sequence[str]) -> Iterator[EmbeddingQuestion]:
        rest = iter(texts)
        while part := tuple(itertools.islice(rest, self.batch_size)):
            yield EmbeddingQuestion(
                part, self.model, dimensions=self.dimensions, endpoint=self.endpoint
            )
