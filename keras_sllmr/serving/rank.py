"""The served ranking: candidates of a user scored together, the best of them sorted."""

from collections.abc import Callable, Mapping
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.serving.raw_features import RawFeatures


class Ranking(tf.Module):
    """Ranks each user's own candidates.

    Args:
        score: from one user's features `[1, ...]` and the indices of some items, int32
            `[C]`, to their logits `[C]`.
        features: look-ups of a backbone's features.
    """

    def __init__(
        self, score: Callable[[Mapping[str, Any], Any], Any], features: RawFeatures
    ) -> None:
        super().__init__()
        # In a closure, as tf.Module would save what it refers to.
        self._score = lambda user, items: score(user, items)
        self._features = features

    def specs(self, ids: Any) -> list[Any]:
        """The signature's inputs, with item ids of a type."""
        return [
            tf.TensorSpec([None, None], ids, name="candidates"),
            tf.TensorSpec([None, None], ids, name="history"),
            tf.TensorSpec([None], tf.int32, name="k"),
            *self._features.user_specs(),
        ]

    def by_id(self, **inputs: Any) -> dict[str, Any]:
        """Ranks candidates given by their ids."""
        candidates = inputs["candidates"]
        found, places = self._ranked(
            inputs,
            self._features.index(candidates),
            self._features.index(inputs["history"]),
            tf.equal(candidates, ""),
        )
        top = tf.gather(candidates, places, batch_dims=1)
        return {**found, "top_item_id": top}

    def by_index(self, **inputs: Any) -> dict[str, Any]:
        """Ranks candidates given by their indices in the store, 0 being padding."""
        candidates = inputs["candidates"]
        found, places = self._ranked(
            inputs, candidates, inputs["history"], tf.equal(candidates, 0)
        )
        return {**found, "top_item": tf.gather(candidates, places, batch_dims=1)}

    def _ranked(
        self, inputs: Mapping[str, Any], items: Any, history: Any, padding: Any
    ) -> tuple[dict[str, Any], Any]:
        rows = tf.shape(items)[0]
        equal = [
            tf.debugging.assert_equal(
                tf.shape(given)[0], rows, f"`{name}` must have one row a user."
            )
            for name, given in inputs.items()
        ]
        # Else a user would be scored by another one's row.
        with tf.control_dependencies(equal):
            items = tf.identity(items)
        users = self._features.of_users(history, inputs)
        logit = tf.where(padding, tf.float32.min, self._logits(users, items))
        score = tf.where(padding, 0.0, tf.sigmoid(logit))
        least = tf.debugging.assert_positive(
            inputs["k"], "Each `k` must be at least 1."
        )
        with tf.control_dependencies([least]):
            k = tf.reduce_max(tf.pad(inputs["k"], [[0, 1]]))
        # The sort is stable: equal ones keep the candidates' order.
        top, places = tf.math.top_k(logit, tf.minimum(k, tf.shape(items)[1]))
        found = {
            "score": score,
            "logit": logit,
            "top_score": tf.gather(score, places, batch_dims=1),
            "top_logit": top,
        }
        return found, places

    def _logits(self, users: Mapping[str, Any], items: Any) -> Any:
        """Logits of each user's own candidates, `[N, C]`."""

        def of_one(one: tuple[dict[str, Any], Any]) -> Any:
            user = {name: x[tf.newaxis] for name, x in one[0].items()}
            return self._score(user, one[1])

        def of_all() -> Any:
            return tf.map_fn(
                of_one,
                (dict(users), items),
                fn_output_signature=tf.TensorSpec([None], tf.float32),
            )

        shape = tf.shape(items)
        # Nothing can be stacked of no user.
        return tf.cond(shape[0] > 0, of_all, lambda: tf.zeros(shape))
