"""Exact scores of all users x items pairs without a row for every pair."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.grid_graph import input_tensors, logit_term
from keras_sllmr.evaluation.grid_terms import Extent, Side, Term, evaluate, frontier

# Matrix products with fewer rows take kernels that round differently: scores would
# depend on how users and items happen to be cut into chunks.
_LEAST_ROWS: dict[Side, int] = {"user": 2, "item": 16}

_USER_CHUNK, _SHARED_CHUNK = 1024, 8192

# Tensors with one row a user or item, and the masks of some by their number.
_Rows: TypeAlias = tuple[list[Any], dict[str, Any]]

_NOT_A_GRID = (
    "Grid scoring needs a model in which a pair's logit depends on the pair's own row "
    "only; score this one with `model.predict` on rows."
)


class GridScorer:
    """Scores every user with every item of a catalogue, exactly.

    Walks the graph of a functional model and tags each tensor as one of the user, of
    the item or of both. What depends on one side runs once a user or once an item;
    only the rest runs for every pair, in blocks, and layers with a rule in
    `split_rules` do most of their work a side. Scores equal `model.predict` on rows
    up to float rounding. Dropout is off.

    The weights are read when items are set and users scored: after further training,
    call `set_items` again.

    Args:
        model: Functional Keras model from a dict of features to one logit [rows, 1].
        item_inputs: Names of the inputs that depend on the item only. All others must
            depend on the user only.
        user_chunk: Users whose own share is computed, and whose histories are compared,
            at a time. Default 1024, or 8192 for a model whose users share work, such
            as DIN: the more users, the more they share.
        item_block: Items scored at a time. Default 1024.
        pairs_at_once: Pairs of a chunk and a block in memory at once, two rows of the
            block at least. Default 16384.

    Raises:
        ConfigError: The model is not functional, has more than one logit or sparse
            inputs, or `item_inputs` names an unknown input or leaves no user input.

    Example:
        >>> from keras_sllmr.compat import keras
        >>> import numpy as np
        >>> user = keras.Input([1], name="age")
        >>> item = keras.Input([1], name="price")
        >>> both = keras.layers.Concatenate()([user, item])
        >>> logit = keras.layers.Dense(1, kernel_initializer="ones")(both)
        >>> model = keras.Model({"age": user, "price": item}, logit)
        >>> scorer = GridScorer(model, item_inputs=["price"])
        >>> scorer.set_items({"price": np.array([0.0, 0.5, 1.0])})
        >>> scorer.score({"age": np.array([1.0, 2.0])}).tolist()
        [[1.0, 1.5, 2.0], [2.0, 2.5, 3.0]]
    """

    def __init__(
        self,
        model: Any,
        *,
        item_inputs: Sequence[str],
        user_chunk: int | None = None,
        item_block: int = 1024,
        pairs_at_once: int = 16_384,
    ) -> None:
        sizes = {
            "user_chunk": user_chunk,
            "item_block": item_block,
            "pairs_at_once": pairs_at_once,
        }
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ConfigError(f"`{name}` must be at least 1. Received: {size}")
        inputs = input_tensors(model)
        unknown = sorted(set(item_inputs) - set(inputs))
        if unknown or not 0 < len(set(item_inputs)) < len(inputs):
            raise ConfigError(
                "`item_inputs` must name some of the model's inputs, but not all: "
                f"{sorted(inputs)}. Received: item_inputs={list(item_inputs)}"
            )
        self.model = model
        self.item_block = item_block
        self.pairs_at_once = pairs_at_once
        self._inputs: dict[Side, dict[str, Any]] = {"user": {}, "item": {}}
        for name, tensor in inputs.items():
            side: Side = "item" if name in item_inputs else "user"
            self._inputs[side][name] = tensor
        fed = {
            name: Term(side, tuple(tensor.shape[1:]))
            for side, tensors in self._inputs.items()
            for name, tensor in tensors.items()
        }
        self._logit = logit_term(model, fed)
        sides: tuple[Side, ...] = ("user", "item", "chunk", "block")
        self._frontier = {side: frontier(self._logit, side) for side in sides}
        shared = bool(self._frontier["block"])
        self.user_chunk = user_chunk or (_SHARED_CHUNK if shared else _USER_CHUNK)
        self._run_side = {side: self._side_function(side, fed) for side in self._inputs}
        self._run_block, self._run_pairs = self._block_functions()
        self._items: dict[str, np.ndarray] = {}
        self._blocks: list[tuple[int, Any]] = []
        self._checked = False

    @property
    def n_items(self) -> int:
        """Number of items set; 0 before `set_items`."""
        return sum(size for size, _ in self._blocks)

    def set_items(self, features: Mapping[str, Any]) -> None:
        """Sets the catalogue and computes all that depends on items only.

        Args:
            features: For each of `item_inputs` an array with one row an item, padding
                left out: row 0 is item index 1. Other keys are ignored.

        Raises:
            DataError: A feature is missing or of another shape or length.
        """
        self._items = self._arrays("item", features)
        self._blocks = []
        for start in range(0, _length(self._items), self.item_block):
            block = _rows(self._items, slice(start, start + self.item_block))
            self._blocks.append((_length(block), self._known("item", block)))
        self._checked = False

    def score(self, features: Mapping[str, Any]) -> np.ndarray:
        """Scores users with all items.

        The first call compares a few pairs with the model called on their rows.

        Args:
            features: For each user input an array with one row a user. Other keys
                are ignored.

        Returns:
            Logits, float32 [users, items]; column j belongs to item index j + 1.

        Raises:
            ConfigError: `set_items` was not called, or the model cannot be scored as
                a grid, as a pair's logit depends on other rows of its batch.
            DataError: A feature is missing or of another shape or length.
        """
        if not self._blocks:
            raise ConfigError("Call `set_items` before `score`. Received: no items")
        users = self._arrays("user", features)
        if not self._checked:
            self._check(users)
            self._checked = True
        scores = np.empty((_length(users), self.n_items), np.float32)
        for start in range(0, len(scores), self.user_chunk):
            chunk = slice(start, start + self.user_chunk)
            self._score_known(self._known("user", _rows(users, chunk)), scores[chunk])
        return scores

    def _known(self, side: Side, features: Mapping[str, np.ndarray]) -> Any:
        """Computes what pairs need of one side."""
        try:
            return self._run_side[side](_padded(features, _LEAST_ROWS[side]))
        except tf.errors.InvalidArgumentError as error:
            raise DataError(
                f"The model must accept the {side} features; an index beyond its "
                f"table is the usual cause. Received: {_reason(error)}"
            ) from error

    def _score_known(self, users: Any, out: np.ndarray) -> None:
        column = 0
        users, chunk = users
        for size, (items, _) in self._blocks:
            columns = max(size, _LEAST_ROWS["item"])
            rows = max(self.pairs_at_once // columns, _LEAST_ROWS["user"])
            rows = min(rows, max(len(out), _LEAST_ROWS["user"]))
            extent = Extent(tf.constant(rows), tf.constant(columns))
            block = self._run_block(chunk, items)
            for row in range(0, len(out), rows):
                # The last ones overlap those before: as many rows in every call.
                row = max(min(row, len(out) - rows), 0)
                logits = self._run_pairs(users, items, block, tf.constant(row), extent)
                some = out[row : row + rows, column : column + size]
                some[:] = logits.numpy()[: len(some), :size]
            column += size

    def _side_function(self, side: Side, fed: Mapping[str, Term]) -> Any:
        signature = {
            name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
            for name, tensor in self._inputs[side].items()
        }

        terms = self._frontier[side]
        of_chunk = self._frontier["chunk"] if side == "user" else []

        def run(features: dict[str, Any]) -> tuple[_Rows, list[Any]]:
            known = {fed[name]: tensor for name, tensor in features.items()}
            found = evaluate([*terms, *of_chunk], known)
            tensors, shared = found[: len(terms)], found[len(terms) :]
            masks = [getattr(tensor, "_keras_mask", None) for tensor in tensors]
            # A mask is lost on the way out of the function, so it goes by itself.
            named = {str(k): mask for k, mask in enumerate(masks) if mask is not None}
            return (tensors, named), shared

        return tf.function(run, input_signature=[signature])

    def _block_functions(self) -> tuple[Any, Any]:
        """What runs once a chunk and block, and what runs for some of its users."""

        def known_rows(side: Side, rows: _Rows) -> dict[Term, Any]:
            tensors, masks = rows
            for k, mask in masks.items():
                tensors[int(k)]._keras_mask = mask
            return dict(zip(self._frontier[side], tensors, strict=True))

        def run_block(chunk: Any, items: Any) -> list[Any]:
            known = known_rows("item", items)
            known.update(zip(self._frontier["chunk"], chunk, strict=True))
            return evaluate(self._frontier["block"], known)

        def run_pairs(
            users: Any, items: Any, block: Any, start: Any, extent: Extent
        ) -> Any:
            some = tf.nest.map_structure(
                lambda x: x[start : start + extent.users], users
            )
            known = known_rows("user", some) | known_rows("item", items)
            known.update(zip(self._frontier["block"], block, strict=True))
            (logits,) = evaluate([self._logit], known, extent)
            return tf.cast(tf.reshape(logits, tf.stack(extent)), tf.float32)

        def specs_of(function: Any) -> Any:
            # Any number of rows: one trace serves all blocks.
            outputs = function.get_concrete_function().structured_outputs
            return tf.nest.map_structure(
                lambda x: tf.TensorSpec(x.shape, x.dtype), outputs
            )

        users, chunk = specs_of(self._run_side["user"])
        items, _ = specs_of(self._run_side["item"])
        scalar = tf.TensorSpec([], tf.int32)
        block_function = tf.function(run_block, input_signature=[chunk, items])
        return block_function, tf.function(
            run_pairs,
            input_signature=[
                users,
                items,
                specs_of(block_function),
                scalar,
                Extent(scalar, scalar),
            ],
        )

    def _arrays(self, side: Side, features: Mapping[str, Any]) -> dict[str, np.ndarray]:
        arrays = {}
        for name, tensor in self._inputs[side].items():
            if name not in features:
                raise DataError(
                    f"The {side} features must hold the model's input {name!r}. "
                    f"Received: {sorted(features)}"
                )
            array = np.asarray(features[name])
            shape = tensor.shape[1:]
            if array.ndim == shape.rank and shape[-1] == 1:
                array = array[..., np.newaxis]
            if not shape.is_compatible_with(array.shape[1:]) or not array.ndim:
                raise DataError(
                    f"The {side} feature {name!r} must have shape "
                    f"[rows, {', '.join(map(str, shape))}]. Received: "
                    f"{list(array.shape)}"
                )
            numeric = tensor.dtype != tf.string
            arrays[name] = (
                array.astype(tensor.dtype.as_numpy_dtype) if numeric else array
            )
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise DataError(
                f"All {side} features must have the same number of rows, at least 1. "
                f"Received: {lengths}"
            )
        return arrays

    def _check(self, users: Mapping[str, np.ndarray]) -> None:
        """Compares a few pairs with the model on rows."""
        some = _rows(users, slice(0, 3))
        columns = np.unique(np.linspace(0, self.n_items - 1, 5).astype(int))
        u, i = (index.ravel() for index in np.indices((_length(some), len(columns))))
        if len(u) > 1:  # an odd row out, so that means over rows are not the grid's
            u, i = u[1:], i[1:]
        grid = np.empty((_length(some), self.n_items), np.float32)
        known = self._known("user", some)
        try:
            self._score_known(known, grid)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise ConfigError(f"{_NOT_A_GRID} Received: {_reason(error)}") from error
        rows = {**_rows(some, u), **_rows(self._items, columns[i])}
        expected = np.ravel(self.model(rows, training=False))
        found = grid[u, columns[i]]
        scale = max(1.0, float(np.nanmax(np.abs(expected), initial=0.0)))
        if not np.allclose(found, expected, rtol=0, atol=1e-3 * scale, equal_nan=True):
            difference = np.nanmax(np.abs(found - expected))
            raise ConfigError(
                f"{_NOT_A_GRID} Received: logits that differ by up to {difference:.3g}"
            )


def _length(features: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(features.values())))


def _rows(
    features: Mapping[str, np.ndarray], index: slice | np.ndarray
) -> dict[str, np.ndarray]:
    return {name: array[index] for name, array in features.items()}


def _padded(features: Mapping[str, np.ndarray], least: int) -> dict[str, np.ndarray]:
    """Repeats the last row until there are `least` rows."""
    rows = _length(features)
    return _rows(features, np.minimum(np.arange(max(rows, least)), rows - 1))


def _reason(error: Exception) -> str:
    """The line that says what is wrong, out of TensorFlow's traceback in text."""
    text = re.split(r"\n\t \[\[|\n+Call arguments received", str(error).strip())[0]
    return text.splitlines()[-1].strip()
