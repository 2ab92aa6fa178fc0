"""A client of TensorFlow Serving that ranks candidates, without TensorFlow."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.serving.connection import Connection
from keras_sllmr.serving.rank_request import PADDING, rank_request
from keras_sllmr.serving.served_model import ServedModel, Signature, no_answer


class RankClient(AbstractContextManager["RankClient"]):
    """Ranks candidates of users by a model that TensorFlow Serving serves.

    It may be shared by threads, and keeps its connections until it is closed; a `with`
    block closes it. The first call also asks the server what the model takes.

    Args:
        url: the server: `grpc://host:port` or `http://host:port`, and `grpcs://…` or
            `https://…` for TLS.
        model: str. The served model's name.
        version: int ≥ 1. Defaults to the latest one.
        label: str. A version's label, in place of `version`. Defaults to none.
        timeout: float > 0, seconds that a call may last, retries included. Defaults to
            `0.5`. Over REST each of connecting, sending and waiting may last as long.
        signature: str. `"rank"`, or `"rank_dense"` of a model that was exported with
            `dense_ids`: items are then the store's indices. Defaults to `"rank"`.
        retries: int ≥ 0. How often a server that is unavailable is tried again, soon
            after; nothing else is. Defaults to `2`.
        widths: by input that is a list (`history`, `candidates`, a multi-valued
            column) the number of values to send a row, padded. A server with batching
            puts only requests of equal widths together. Longer histories are cut to
            the newest items. Defaults to the longest row's of each request.
        headers: headers of each request, for a gateway. Defaults to none.
        ca: PEM file of the authorities to trust with TLS. Defaults to common ones.
        certificate: PEM files of this client's certificate and key, for a server that
            asks for one. Defaults to none.

    Raises:
        ConfigError: when an argument breaks its rule, or a file is missing.

    Example:
        >>> with RankClient("grpc://localhost:8500", model="demo") as client:
        ...     client.rank(["1", "7"], ["50", "181", "9"], k=2)  # doctest: +SKIP
        [('50', 0.83), ('181', 0.79)]
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 0.5,
        signature: str = "rank",
        retries: int = 2,
        widths: Mapping[str, int] | None = None,
        headers: Mapping[str, str] | None = None,
        ca: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
    ) -> None:
        if any(width < 0 for width in (widths or {}).values()):
            raise ConfigError(f"`widths` must not be negative. Received: {widths}")
        self._signature, self._widths = signature, dict(widths or {})
        self._found: Signature | None = None
        self._connection = Connection(
            url,
            ServedModel(model, version, label),
            timeout=timeout,
            retries=retries,
            headers=headers or {},
            ca=ca,
            certificate=certificate,
        )

    def rank(
        self,
        history: Sequence[str],
        candidates: Sequence[str],
        k: int = 10,
        *,
        user_id: str = "",
        columns: Mapping[str, Any] | None = None,
    ) -> list[tuple[str, float]]:
        """The best candidates of a user.

        Args:
            history: ids of the user's items, oldest first; may be empty.
            candidates: ids of the items to rank; "" are left out. One that the model
                does not know is scored by the user's side alone. With none of them the
                result is empty.
            k: int ≥ 1. How many to return at most. Defaults to `10`.
            user_id: str. Read only by models with a user field. Defaults to unknown.
            columns: the user's and the context's cells by column: a str, a list of
                them of a multi-valued column, or a number. Columns left out are
                unknown.

        Returns:
            (item id, score in [0, 1]) by falling logit; equal ones in the candidates'
            order.

        Raises:
            ConfigError: when the model reads no column of some name, no cell of that
                type in it, or `k` is below 1.
            EndpointError: when the server is down, refuses or takes too long.

        Example:
            >>> client.rank(["1"], ["50", "9"], columns={"age": 31})  # doctest: +SKIP
            [('50', 0.83), ('9', 0.12)]
        """
        cells = {name: [cell] for name, cell in (columns or {}).items()}
        (ranked,) = self.rank_many(
            [history], [candidates], k, user_ids=[user_id], columns=cells
        )
        return ranked

    def rank_many(
        self,
        histories: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]],
        k: int = 10,
        *,
        user_ids: Sequence[str] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[list[tuple[str, float]]]:
        """The best candidates of several users, in one request.

        Args:
            histories: for each user what `rank` takes; lengths may differ.
            candidates: for each user his own; numbers may differ.
            k: int ≥ 1. How many to return of each at most. Defaults to `10`.
            user_ids: for each user his id. Defaults to unknown.
            columns: by column the cells of all users.

        Returns:
            For each user what `rank` gives.

        Raises:
            ConfigError: as `rank`, and when there is not one of each for every user.
            EndpointError: as `rank`.

        Example:
            >>> client.rank_many([["1"], []], [["50", "9"], ["9"]])  # doctest: +SKIP
            [[('50', 0.83), ('9', 0.12)], [('9', 0.2)]]
        """
        connection = self._connection
        deadline = connection.deadline()
        signature = self._ranking(deadline)
        inputs = rank_request(
            signature, histories, candidates, k, user_ids, columns or {}, self._widths
        )
        if not len(candidates):
            return []
        try:
            outputs = connection.call(
                lambda server, left: server.predict(self._signature, inputs, left),
                deadline,
            )
        except EndpointError:
            self._found = None  # perhaps another version is served by now
            raise
        padding = PADDING[signature.inputs["candidates"].dtype]
        try:
            items = outputs["top_item_id" if padding == "" else "top_item"].tolist()
            scores = outputs["top_score"].tolist()
            # A server with batching may return more, as another request's k was higher.
            return [
                [pair for pair in zip(*row, strict=True) if pair[0] != padding][:k]
                for row in zip(items, scores, strict=True)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise no_answer(
                connection.url, f"{error!r} among {sorted(outputs)}"
            ) from error

    def status(self) -> dict[int, str]:
        """The state of each version of the model: "AVAILABLE", "LOADING" and others.

        Raises:
            EndpointError: when the server is down, does not know the model, or takes
                too long.

        Example:
            >>> client.status()  # doctest: +SKIP
            {1: 'AVAILABLE'}
        """
        connection = self._connection
        return connection.call(
            lambda server, left: server.status(left), connection.deadline()
        )

    def metadata(self) -> dict[str, Signature]:
        """The model's signatures: method, inputs and outputs with type and shape.

        Raises:
            EndpointError: as `status`.

        Example:
            >>> client.metadata()["rank"].inputs["history"]  # doctest: +SKIP
            TensorInfo(dtype='string', shape=(-1, -1))
        """
        connection = self._connection
        return connection.call(
            lambda server, left: server.signatures(left), connection.deadline()
        )

    def close(self) -> None:
        """Closes the connections. A closed client cannot be used any more."""
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ranking(self, deadline: float) -> Signature:
        """What the signature takes, asked for once."""
        if self._found is None:
            found = self._connection.call(
                lambda server, left: server.signatures(left), deadline
            )
            ranking = [name for name in found if "candidates" in found[name].inputs]
            if self._signature not in ranking:
                raise ConfigError(
                    "`signature` must be one that ranks; the served model has "
                    f"{', '.join(sorted(ranking)) or 'none'}. Received: "
                    f"{self._signature!r}"
                )
            self._found = found[self._signature]
        return self._found
