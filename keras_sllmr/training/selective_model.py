"""The selective model: any Keras ranker, trained with gated LLM guidance."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.agreement import agreement_loss
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge, score_gaps
from keras_sllmr.training.batch import (
    GUIDANCE,
    LABELLED,
    PROBES,
    block_rows,
    join_rows,
)
from keras_sllmr.training.uncertainty import entropy


@keras.utils.register_keras_serializable("keras_sllmr")
class SelectiveModel(keras.Model):
    r"""Trains a backbone on \(\mathcal L_{base} + \lambda \mathcal L_{LLM}\).

    The base loss is what `compile(loss=...)` says, on the labelled rows. The LLM's term
    is a gated pairwise hinge on each user's LLM-scored candidates, which have no label
    and take no part in the base loss. `predict`, `evaluate` and `export` see the bare
    backbone.

    Args:
        backbone: a functional `keras.Model` from a dict of features to logits
            `[batch, 1]`.
        gate: how far the LLM is trusted. Defaults to `Gate()`.
        regularizer: loss of (logits, gaps, alpha). Defaults to `PairwiseHinge()`.
        weight: float ≥ 0. λ. Defaults to `0.1` (paper 4.4).

    Raises:
        ConfigError: when the backbone does not take a dict of features to one logit,
            or `weight` is negative.

    Example:
        >>> features = {"item": keras.Input((), dtype="int32", name="item")}
        >>> hidden = keras.layers.Embedding(9, 4)(features["item"])
        >>> backbone = keras.Model(features, keras.layers.Dense(1)(hidden))
        >>> model = SelectiveModel(backbone, weight=0.1)
        >>> model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
        >>> model({"item": tf.constant([1, 2])}).shape
        TensorShape([2, 1])

    Reference:
        The paper's sections 3.2 to 3.4.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        gate: Gate | None = None,
        regularizer: Any = None,
        weight: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_backbone(backbone)
        if not weight >= 0:
            raise ConfigError(f"`weight` must be at least 0. Received: weight={weight}")
        self.backbone = backbone
        self.gate = Gate(name="gate") if gate is None else gate
        self.regularizer = PairwiseHinge() if regularizer is None else regularizer
        self.weight = float(weight)
        if not self.gate.built:
            self.gate.build((None, len(self.gate.signals)))
        self._trackers = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "base_loss", "pair_loss", "gate_loss", "pairs")
        }
        self.built = True

    @property
    def metrics(self) -> list[Any]:
        """Loss parts and the compiled metrics, reset at each epoch."""
        # Keras collects the trackers a second time, and a loss of its own.
        others = [m for m in super().metrics if m.name not in self._trackers]
        return [*self._trackers.values(), *others]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The backbone's logits of the labelled rows."""
        rows = inputs.get(LABELLED, inputs)
        return self.backbone(rows, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a plain or a guided batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        blocks = [x[name] for name in (GUIDANCE, PROBES) if name in x]
        rows = x.get(LABELLED, x)
        with tf.GradientTape() as tape:
            features = join_rows([rows, *map(block_rows, blocks)])
            logits = tf.cast(self.backbone(features, training=True), tf.float32)
            count = tf.shape(y)[0]
            y_pred = logits[:count]
            base = self.compute_loss(x, y, y_pred, sample_weight)
            parts = self._guidance_losses(x, logits[count:, 0])
            loss = base + self.weight * parts["pair_loss"] + parts["gate_loss"]
        # A plain batch leaves the gate without a gradient: zero, not a warning a step.
        gradients = tape.gradient(
            loss, self.trainable_variables, unconnected_gradients="zero"
        )
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        for name, value in {"loss": loss, "base_loss": base, **parts}.items():
            self._trackers[name].update_state(value, count)
        return self.compute_metrics(rows, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Base loss and metrics on labelled rows."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        self._trackers["loss"].update_state(loss, tf.shape(y)[0])
        names = {tracker.name for tracker in self._trackers.values()} - {"loss"}
        results = self.compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in results.items() if name not in names}

    def pair_weights(self, block: dict[str, Any]) -> tuple[Any, Any]:
        """α and the LLM's score gaps of a guidance block's pairs, `[users, C, C]`."""
        logits = self.backbone(block_rows(block), training=False)
        logits = tf.reshape(tf.cast(logits, tf.float32), tf.shape(block["score"]))
        gaps = score_gaps(block["score"], block["valid"])
        return self.gate(self._signals(block, logits), gaps), gaps

    def _guidance_losses(self, x: dict[str, Any], logits: Any) -> dict[str, Any]:
        zero = tf.zeros((), logits.dtype)
        parts = {"pair_loss": zero, "gate_loss": zero, "pairs": zero}
        start = 0
        if GUIDANCE in x:
            block = x[GUIDANCE]
            shape = tf.shape(block["score"])
            start = shape[0] * shape[1]
            scores = tf.reshape(logits[:start], shape)
            gaps = score_gaps(block["score"], block["valid"])
            alpha = self.gate(self._signals(block, scores), gaps)
            parts["pair_loss"] = self.regularizer(scores, gaps, alpha)
            parts["pairs"] = tf.reduce_sum(tf.cast(gaps > 0, logits.dtype))
        if PROBES in x and self.gate.objective == "agreement":
            block = x[PROBES]
            scores = tf.reshape(logits[start:], tf.shape(block["score"]))
            gaps = score_gaps(block["score"], block["valid"])
            evidence = self.gate.evidence(self._signals(block, scores), gaps)
            parts["gate_loss"] = agreement_loss(evidence, gaps, block["label"])
        return parts

    def _signals(self, block: dict[str, Any], logits: Any) -> Any:
        known = {**block["signals"], "uncertainty": entropy(logits)}
        missing = [name for name in self.gate.signals if name not in known]
        if missing:
            raise ConfigError(
                f"The gate's signals must be among {', '.join(sorted(known))}. "
                f"Received: {', '.join(missing)}"
            )
        columns = [tf.cast(known[name], logits.dtype) for name in self.gate.signals]
        return tf.stop_gradient(tf.stack(columns, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, with the backbone, gate and regulariser serialised."""
        serialize = keras.utils.serialize_keras_object
        return {
            **super().get_config(),
            "backbone": serialize(self.backbone),
            "gate": serialize(self.gate),
            "regularizer": serialize(self.regularizer),
            "weight": self.weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Rebuilds the model."""
        config = dict(config)
        for name in ("backbone", "gate", "regularizer"):
            config[name] = keras.utils.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)


def _check_backbone(backbone: Any) -> None:
    shape = getattr(backbone, "output_shape", None)
    takes_dict = isinstance(getattr(backbone, "input", None), dict)
    if (
        not takes_dict
        or not isinstance(shape, tuple)
        or shape[-1] != 1
        or len(shape) != 2
    ):
        raise ConfigError(
            "`backbone` must be a functional keras.Model from a dict of features to "
            "one logit, shape (None, 1). Received: "
            f"{type(backbone).__name__} with output shape {shape}"
        )
