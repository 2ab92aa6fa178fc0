r"""Uncertainty q of the model about a row, in [0, 1] and without a gradient.

Every estimate is a layer with one call, `(logits, rows, backbone) → q`: the logits are
the backbone's on the rows, a dict of features as the backbone takes them.
"""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError

#: the largest variance of a probability: half of the time 0, half of the time 1.
_LARGEST_VARIANCE = 0.25


def entropy(logits: Any) -> Any:
    r"""Normalised predictive entropy, \(q = -(p \log_2 p + (1-p) \log_2 (1-p))\).

    Args:
        logits: float, any shape.

    Returns:
        float32 of the same shape, 1 where p = ½ and 0 where the model is certain.

    Reference:
        The paper's section 3.3.
    """
    logits = tf.cast(logits, tf.float32)
    # H(p) in nats = softplus(x) − x·σ(x), stable for large |x|.
    nats = tf.nn.softplus(logits) - logits * tf.sigmoid(logits)
    return _unit(nats / tf.math.log(2.0))


def confidence(logits: Any) -> Any:
    r"""Lack of confidence, \(q = 2\,(1 - \max_c p_c) = 2 \min(p, 1-p)\).

    Args:
        logits: float, any shape.

    Returns:
        float32 of the same shape, 1 where p = ½ and 0 where the model is certain.

    Reference:
        The paper's section 3.3, instantiation (a), scaled to [0, 1].
    """
    return _unit(2.0 * tf.sigmoid(-tf.abs(tf.cast(logits, tf.float32))))


def _variance(logits: Any) -> Any:
    """Variance of σ(logits) over the first axis, as a share of the largest."""
    probability = tf.sigmoid(tf.cast(logits, tf.float32))
    return _unit(tf.math.reduce_variance(probability, axis=0) / _LARGEST_VARIANCE)


def _unit(q: Any) -> Any:
    return tf.stop_gradient(tf.clip_by_value(q, 0.0, 1.0))


class Uncertainty(keras.layers.Layer):
    """Base of the estimates; in full precision, as an ensemble's variances are small.

    Call arguments:
        logits: float, the backbone's logits of the rows, in any shape.
        rows: dict of features `[rows, ...]`, as many rows as logits, in their order.
        backbone: `keras.Model` of a dict of features to logits `[rows, 1]`.

    Returns:
        float32 of the logits' shape, in [0, 1], without a gradient.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)


@keras.utils.register_keras_serializable("keras_sllmr")
class Entropy(Uncertainty):
    """Predictive entropy of the model itself, see `entropy`.

    Example:
        >>> Entropy()(tf.constant([0.0])).numpy().tolist()
        [1.0]
    """

    def call(self, logits: Any, rows: Any = None, backbone: Any = None) -> Any:
        """See `Uncertainty`; the rows are not needed."""
        return entropy(logits)


@keras.utils.register_keras_serializable("keras_sllmr")
class Confidence(Uncertainty):
    """Lack of confidence of the model itself, see `confidence`.

    Example:
        >>> Confidence()(tf.constant([0.0])).numpy().tolist()
        [1.0]
    """

    def call(self, logits: Any, rows: Any = None, backbone: Any = None) -> Any:
        """See `Uncertainty`; the rows are not needed."""
        return confidence(logits)


@keras.utils.register_keras_serializable("keras_sllmr")
class MCDropout(Uncertainty):
    r"""Variance of the probability over dropout masks.

    \(q = 4 \operatorname{Var}_t \sigma(s^{(t)})\) over T passes with dropout at work: ¼
    is the largest variance that a probability can have. A backbone without dropout has
    q = 0. Layers that keep statistics of their inputs (batch normalisation, Dice) use
    what they have learnt and learn nothing from the passes.

    Args:
        passes: int ≥ 2. T; each scores the rows once more. Defaults to `5`.

    Raises:
        ConfigError: if `passes` is less than 2.

    Reference:
        The paper's section 3.3, instantiation (c); Gal and Ghahramani, Dropout as a
        Bayesian Approximation, ICML 2016.
    """

    def __init__(self, passes: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if passes < 2:
            raise ConfigError(f"`passes` must be at least 2. Received: passes={passes}")
        self.passes = int(passes)

    def call(self, logits: Any, rows: Any, backbone: Any) -> Any:
        """See `Uncertainty`."""
        repeated = {
            name: tf.concat([value] * self.passes, 0) for name, value in rows.items()
        }
        sampled = _score_with_dropout(backbone, repeated)
        shape = tf.concat([[self.passes], tf.shape(logits)], 0)
        return tf.ensure_shape(_variance(tf.reshape(sampled, shape)), logits.shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "passes": self.passes}


def _score_with_dropout(backbone: Any, rows: dict[str, Any]) -> Any:
    # A frozen batch normalisation layer runs in inference mode, whatever `training` is.
    moving = [
        layer
        for layer in backbone.submodules
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    for layer in moving:
        layer.trainable = False
    try:
        return backbone(rows, training=True)
    finally:
        for layer in moving:
            layer.trainable = True


@keras.utils.register_keras_serializable("keras_sllmr")
class Ensemble(Uncertainty):
    r"""Variance of the probability over the model and others like it.

    \(q = 4 \operatorname{Var}_k \sigma(s^{(k)})\) over the model that is trained and the
    given ones, which are frozen: ¼ is the largest variance that a probability can have.
    The others are saved with the model that holds this layer.

    Args:
        models: backbones of a dict of features to logits `[rows, 1]`, at least one;
            each reads those of the rows' features that it knows.

    Raises:
        ConfigError: without a model, or when one takes no dict of features; when
            called, if the rows lack a feature.

    Reference:
        The paper's section 3.3, instantiation (c); Lakshminarayanan et al., Simple and
        Scalable Predictive Uncertainty Estimation using Deep Ensembles, NeurIPS 2017.
    """

    def __init__(self, models: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})
        self.models = list(models)
        wrong = [
            type(model).__name__
            for model in self.models
            if not isinstance(getattr(model, "input", None), dict)
        ]
        if wrong or not self.models:
            raise ConfigError(
                "`models` must hold at least one functional keras.Model from a dict of "
                f"features to a logit. Received: {', '.join(wrong) or 'none'}"
            )
        for model in self.models:
            model.trainable = False

    def call(self, logits: Any, rows: Any, backbone: Any = None) -> Any:
        """See `Uncertainty`; `backbone` is not needed."""
        scores = [tf.cast(logits, tf.float32)]
        for model in self.models:
            missing = [name for name in model.input if name not in rows]
            if missing:
                raise ConfigError(
                    "Rows must have every feature of the ensemble's models. Received: "
                    f"rows of {', '.join(rows)}, without {', '.join(missing)}"
                )
            known = {name: rows[name] for name in model.input}
            other = tf.cast(model(known, training=False), tf.float32)
            scores.append(tf.reshape(other, tf.shape(logits)))
        return tf.ensure_shape(_variance(tf.stack(scores)), logits.shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, with the models serialised."""
        serialize = keras.utils.serialize_keras_object
        return {**super().get_config(), "models": [*map(serialize, self.models)]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Rebuilds the layer; the models' weights are loaded after it."""
        models = [
            keras.utils.deserialize_keras_object(model, custom_objects=custom_objects)
            for model in config["models"]
        ]
        return cls(**{**config, "models": models})


UNCERTAINTIES: dict[str, type[Uncertainty]] = {
    "entropy": Entropy,
    "confidence": Confidence,
    "mc_dropout": MCDropout,
    "ensemble": Ensemble,
}


def uncertainty_named(name: str, **options: Any) -> Uncertainty:
    """An estimate of uncertainty, from its name.

    Args:
        name: `"entropy"`, `"confidence"`, `"mc_dropout"` or `"ensemble"`.
        options: as the class takes them: `passes` for `"mc_dropout"`, `models` for
            `"ensemble"`.

    Raises:
        ConfigError: on an unknown name, or an option that the estimate does not take or
            lacks.

    Example:
        >>> uncertainty_named("mc_dropout", passes=8).passes
        8
    """
    if name not in UNCERTAINTIES:
        raise ConfigError(
            f"`uncertainty` must be one of {', '.join(UNCERTAINTIES)}. "
            f"Received: uncertainty={name!r}"
        )
    try:
        return UNCERTAINTIES[name](**options)
    except TypeError as error:
        raise ConfigError(
            f"The uncertainty {name!r} cannot be made: {error}"
        ) from error
