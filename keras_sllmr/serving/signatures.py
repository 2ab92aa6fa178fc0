"""The served graph: raw ids in, look-ups, the bare backbone, scores out."""

import os
from collections.abc import Mapping
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.evaluation.grid_function import GridFunction
from keras_sllmr.serving.backbone_check import check_backbone
from keras_sllmr.serving.examples import parse_examples
from keras_sllmr.serving.rank import Ranking
from keras_sllmr.serving.raw_features import RawFeatures
from keras_sllmr.store.feature_store import FeatureStore

DEFAULT = "serving_default"
#: Signatures that TensorFlow Serving calls by another method than Predict.
METHODS = {
    "classify": "tensorflow/serving/classify",
    "regress": "tensorflow/serving/regress",
}


class RawIdScorer(tf.Module):
    """A backbone behind look-ups of ids, item attributes, columns and examples.

    It holds the vocabularies, the items' attributes and columns, what finds examples
    and those weights that the inference graph reads; nothing of the trainer.

    Args:
        backbone: functional `keras.Model` from a dict of features to logits
            `[batch, 1]`; its inputs are among `user`, `item`, `history`,
            `item_attributes`, `history_attributes`, `examples` and the columns of
            `spec`.
        spec: sizes of the features.
        store: the feature store that the backbone was trained on.
        folder: where the vocabulary files are written, one text a line. They must stay
            until the module has been saved, which copies them.
        dense_ids: bool. A signature that takes the store's indices, too? Defaults to
            `False`.
        retrieval: finds a row's examples inside the graph, for a backbone that reads
            some; see `TrainedModel.retrieval`. Defaults to none.

    Raises:
        ConfigError: when backbone, `spec` and `store` do not fit together.
        DataError: when an id or a category holds a line break.
    """

    def __init__(
        self,
        backbone: Any,
        spec: FeatureSpec,
        store: FeatureStore,
        folder: str | os.PathLike[str],
        *,
        dense_ids: bool = False,
        retrieval: Any = None,
    ) -> None:
        super().__init__()
        check_backbone(backbone, spec, store, retrieval)
        names = tuple(backbone.input)
        # In a closure, as tf.Module would save a Keras model with all its layers'
        # training functions.
        self._logits = lambda features: backbone(features, training=False)
        self._features = RawFeatures(names, spec, store, folder, retrieval)
        items = [name for name in names if name in spec.item_inputs]
        self._ranking = None
        if "examples" in names:
            self._ranking = Ranking(self._pair_by_pair, self._features)
        elif 0 < len(items) < len(names):
            grid = GridFunction(backbone, item_inputs=items)
            self._ranking = Ranking(
                lambda user, items: grid(user, self._features.of_items(items))[0],
                self._features,
            )
        self._dense_ids = dense_ids

    def signatures(self) -> dict[str, Any]:
        """The named signatures, traced.

        `serving_default` takes one row a candidate:

        - `item_id`: string `[N]`. An unknown id is scored by the user's side, with
          the padding embeddings as the item's.
        - `history`: string `[N, H]`, any H ≥ 0. The user's items, oldest first. Empty
          strings are padding, wherever they are; unknown ids count as padding too. Of
          what remains the last `history_length` are read.
        - `user_id`: string `[N]`, if the backbone has a user field or knowledge of the
          users. An unknown user gets the padding embedding, and zeros for knowledge.
        - of each user or context column that the backbone reads, an input of its name:
          string `[N]` of a categorical one, string `[N, V]` of a multi-valued one, its
          values in their order and padded with "" to any V ≥ 0, or float32 `[N]` of a
          numeric one, in the unit of the data. "", a value that the store does not
          know, a row of such ones and NaN mean unknown.

        The items' columns are inside, as their attributes are, and so are knowledge of
        users and items and the examples of a row, which are found by its history and
        its item. It gives `logit` and `score`, its sigmoid, both float32 `[N]`.

        `rank` takes one row a user, and does the user's share of the work once, but
        pair by pair for a backbone that reads examples, which depend on both:
        `candidates`, string `[N, C]`, with "" as padding, in place of `item_id`; `k`,
        int32 `[N]` of numbers from 1; the rest as above. It gives `score` and `logit`,
        `[N, C]`, and with K = min(max(k), C) `top_item_id`, `top_score` and
        `top_logit`, `[N, K]`, by falling logit, equal ones in the candidates' order.
        Padding has the score 0 and the least logit there is, and comes last.

        `rank_dense`, on demand, is `rank` with int32 indices of the store as
        `candidates` and `history`, 0 being unknown or padding, and `top_item` out.

        `serve_examples` takes `examples`, string `[N]`: serialised tf.Example with the
        inputs of `serving_default` as features, see `parse_examples`; and gives the
        same. `classify` and `regress` take them as `inputs`, and give `classes`
        ("0", "1") and `scores` `[N, 2]`, and `outputs` `[N, 1]`, the score.
        """
        rows = [
            tf.TensorSpec([None], tf.string, name="item_id"),
            tf.TensorSpec([None, None], tf.string, name="history"),
            *self._features.user_specs(),
        ]

        def of_examples(name: str, outputs: Any) -> tuple[Any, list[Any]]:
            def serve(**inputs: Any) -> dict[str, Any]:
                found = self._serve(**parse_examples(inputs[name], rows))
                return dict(outputs(found))

            return serve, [tf.TensorSpec([None], tf.string, name=name)]

        served: dict[str, tuple[Any, list[Any]]] = {DEFAULT: (self._serve, rows)}
        if self._ranking is not None:
            served["rank"] = self._ranking.by_id, self._ranking.specs(tf.string)
            if self._dense_ids:
                dense = self._ranking.specs(tf.int32)
                served["rank_dense"] = self._ranking.by_index, dense
        served["serve_examples"] = of_examples("examples", lambda found: found)
        served["classify"] = of_examples("inputs", _classes)
        served["regress"] = of_examples(
            "inputs", lambda found: {"outputs": found["score"][:, tf.newaxis]}
        )
        signatures = {
            name: tf.function(function).get_concrete_function(
                **{spec.name: spec for spec in specs}
            )
            for name, (function, specs) in served.items()
        }
        # Saved with the module: the weights that inference reads, and no others.
        read = {
            variable.ref(): variable
            for function in signatures.values()
            for variable in function.graph.variables
        }
        self._weights = list(read.values())
        return signatures

    def _serve(self, **inputs: Any) -> dict[str, Any]:
        items = self._features.index(inputs["item_id"])
        history = self._features.index(inputs["history"])
        users = self._features.of_users(history, inputs)
        logit = self._of_rows(self._features.of_pairs(users, items))
        return {"score": tf.sigmoid(logit), "logit": logit}

    def _of_rows(self, features: Mapping[str, Any]) -> Any:
        return tf.cast(tf.reshape(self._logits(features), [-1]), tf.float32)

    def _pair_by_pair(self, user: Mapping[str, Any], items: Any) -> Any:
        """Logits of one user's items, with the user's features in every row."""
        features = self._features.of_pairs(user, items)
        rows = tf.shape(items)[0]
        of_user = {n: tf.repeat(user[n], rows, axis=0) for n in user if n in features}
        return self._of_rows(features | of_user)


def _classes(found: dict[str, Any]) -> dict[str, Any]:
    score = found["score"]
    names = tf.tile(tf.constant([["0", "1"]]), [tf.shape(score)[0], 1])
    return {"classes": names, "scores": tf.stack([1 - score, score], axis=1)}
