"""The selective model: any Keras ranker, trained with gated LLM guidance."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.backbones.user_once import UserOnce
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.agreement import agreement_loss
from keras_sllmr.losses.distillation import Distillation
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.losses.regularizer import BlockGate, Regularizer
from keras_sllmr.losses.replicas import (
    mean_over_replicas,
    replicas,
    sum_over_replicas,
)
from keras_sllmr.training.batch import (
    GUIDANCE,
    LABELLED,
    PROBES,
    as_block,
    block_rows,
    block_shape,
    join_blocks,
    one_batch,
)
from keras_sllmr.training.signals import item_signals, pair_signals
from keras_sllmr.training.uncertainty import Entropy, Uncertainty


@keras.utils.register_keras_serializable("keras_sllmr")
class SelectiveModel(keras.Model):
    r"""Trains a backbone on \(\mathcal L_{base} + \lambda \mathcal L_{LLM}\).

    The base loss is what `compile(loss=...)` says, on the labelled rows. The LLM's term
    is of each user's LLM-scored candidates, which have no label and take no part in the
    base loss; labelled items take part in both where the batch gives them a score.
    `predict`, `evaluate` and `export` see the bare backbone.

    Args:
        backbone: a functional `keras.Model` from a dict of features to logits
            `[batch, 1]`.
        item_inputs: names of the features of an item, in blocks `[users, C, ...]`; the
            others, of a user, are `[users, ...]` there and what depends on them alone
            is computed once a user. Defaults to all features.
        gate: how far the LLM is trusted. Defaults to `Gate()`.
        uncertainty: measures the gate's signal of that name. Defaults to `Entropy()`.
        regularizer: what the LLM's scores ask for. Defaults to `PairwiseHinge()`.
        weight: float ≥ 0. λ. Defaults to `0.1` (paper 4.4).
        distillation: a loss on the labelled rows that a teacher scored, where the
            labelled block has `teacher` `[users, C]`, NaN for no score. Defaults to
            none.
        distillation_weight: float ≥ 0. Its weight. Defaults to `0.1`.

    Raises:
        ConfigError: when the backbone does not take a dict of features to one logit,
            or a weight is negative.

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
        item_inputs: Sequence[str] | None = None,
        gate: Gate | None = None,
        uncertainty: Uncertainty | None = None,
        regularizer: Regularizer | None = None,
        weight: float = 0.1,
        distillation: Distillation | None = None,
        distillation_weight: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_backbone(backbone)
        for name, value in (
            ("weight", weight),
            ("distillation_weight", distillation_weight),
        ):
            if not value >= 0:
                raise ConfigError(
                    f"`{name}` must be at least 0. Received: {name}={value}"
                )
        self.distillation = distillation
        self.distillation_weight = float(distillation_weight)
        self.backbone = backbone
        self.item_inputs = tuple(backbone.input if item_inputs is None else item_inputs)
        self._user_once = UserOnce(backbone, self.item_inputs)
        self.gate = Gate(name="gate") if gate is None else gate
        self.uncertainty = Entropy() if uncertainty is None else uncertainty
        self.regularizer = PairwiseHinge() if regularizer is None else regularizer
        self.weight = float(weight)
        if not self.gate.built:
            self.gate.build((None, len(self.gate.signals)))
        self._trackers = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "base_loss", "pair_loss", "gate_loss", "pairs")
        }
        self.built = True

    def make_train_function(self, force: bool = False) -> Any:
        """As `keras.Model` has it; several replicas take one step an execution."""
        steps = int(self._steps_per_execution.numpy())
        if steps > 1 and self.distribute_strategy.num_replicas_in_sync > 1:
            # Steps of one execution overlap, and a replica's part of one could be
            # added to another's of the next.
            raise ConfigError(
                "`steps_per_execution` must be 1 with several replicas. "
                f"Received: steps_per_execution={steps}"
            )
        return super().make_train_function(force)

    @property
    def metrics(self) -> list[Any]:
        """Loss parts and the compiled metrics, reset at each epoch."""
        # Keras collects the trackers a second time, and a loss of its own.
        others = [m for m in super().metrics if m.name not in self._trackers]
        return [*self._trackers.values(), *others]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The backbone's logits: `[rows, 1]` of rows, `[users, C]` of labelled blocks."""
        if LABELLED not in inputs:
            return self.backbone(inputs, training=training)
        block = as_block(inputs[LABELLED], self.item_inputs)
        (logits,) = self._logits([block], training=bool(training))
        return logits

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch of rows or of blocks."""
        x, y, sample_weight = one_batch(*keras.utils.unpack_x_y_sample_weight(data))
        with tf.GradientTape() as tape:
            if LABELLED in x:
                x = {**x, LABELLED: as_block(x[LABELLED], self.item_inputs)}
                names = [LABELLED, *([GUIDANCE] if GUIDANCE in x else [])]
                if PROBES in x and self._gate_needs_logits:
                    names.append(PROBES)
                found = self._logits([x[name] for name in names], training=True)
                logits = dict(zip(names, found, strict=True))
                y_pred = logits[LABELLED]
            else:
                logits = {}
                y_pred = tf.cast(self.backbone(x, training=True), tf.float32)
            base = self._base_loss(x, y, y_pred, sample_weight)
            parts = self._guidance_losses(x, logits)
            loss = base + self.weight * parts["pair_loss"] + parts["gate_loss"]
            if self.distillation is not None:
                distilled = self._distilled(self.distillation, x, y_pred)
                loss += self.distillation_weight * distilled
            # The optimizer adds up what the replicas give.
            share = loss / replicas() if replicas() > 1 else loss
            # Keras wraps the optimizer under `mixed_float16`: gradients would underflow.
            scaled = isinstance(
                self.optimizer, keras.mixed_precision.LossScaleOptimizer
            )
            share = self.optimizer.get_scaled_loss(share) if scaled else share
        # A plain batch leaves the gate without a gradient: zero, not a warning a step.
        gradients = tape.gradient(
            share, self.trainable_variables, unconnected_gradients="zero"
        )
        if scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        count = tf.size(y)
        for name, value in {"loss": loss, "base_loss": base, **parts}.items():
            self._trackers[name].update_state(value, count)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Base loss and metrics on labelled rows."""
        x, y, sample_weight = one_batch(*keras.utils.unpack_x_y_sample_weight(data))
        y_pred = self(x, training=False)
        loss = self._base_loss(x, y, y_pred, sample_weight)
        self._trackers["loss"].update_state(loss, tf.size(y))
        names = {tracker.name for tracker in self._trackers.values()} - {"loss"}
        results = self.compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in results.items() if name not in names}

    def _base_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        # Keras has it as a share of the batch's, the other losses are whole.
        return loss * replicas() if replicas() > 1 else loss

    def block_logits(self, block: dict[str, Any]) -> Any:
        """The backbone's logits of a block's items, `[users, C]`."""
        (logits,) = self._logits([block], training=False)
        return logits

    def pair_weights(self, block: dict[str, Any]) -> tuple[Any, Any]:
        """α and the LLM's score gaps of a block's pairs, `[users, C, C]`."""
        logits, gaps = self.block_logits(block), self.regularizer.gaps(block)
        return self._gate(block, logits).alpha(gaps), gaps

    def pair_beliefs(self, block: dict[str, Any]) -> tuple[Any, Any]:
        """The gate's chance that i belongs above j, and the gaps as above."""
        logits, gaps = self.block_logits(block), self.regularizer.gaps(block)
        z, r, margins = self._witnesses(block, logits, gaps)
        return self.gate.belief(z, gaps, r, margins), gaps

    def gate_loss(self, block: dict[str, Any], logits: Any = None) -> Any:
        """What supervises the gate, on a block of probes; see `agreement_loss`.

        Args:
            block: probes, see `training.batch`.
            logits: float `[users, C]`. The model's on them; needed when a signal is the
                model's and there is no reference.
        """
        gaps = self.regularizer.gaps(block)
        z, r, margins = self._witnesses(block, logits, gaps)
        return agreement_loss(self.gate.odds(z, gaps, r, margins), gaps, block["label"])

    def _logits(self, blocks: list[dict[str, Any]], *, training: bool) -> list[Any]:
        """Logits `[users, C]` of each block, from one pass of the backbone."""
        # One pass over all rows costs less than one a block.
        logits = self._user_once(*join_blocks(blocks), training=training)
        shapes = [block_shape(block) for block in blocks]
        parts = tf.split(
            tf.cast(logits, tf.float32)[:, 0], [users * c for users, c in shapes]
        )
        return [
            tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)
        ]

    def _guidance_losses(
        self, x: dict[str, Any], logits: dict[str, Any]
    ) -> dict[str, Any]:
        total, pairs, gate_loss = tf.zeros(()), tf.zeros(()), tf.zeros(())
        for name in (LABELLED, GUIDANCE):
            if name in logits and "score" in x[name]:
                gate = self._gate(x[name], logits[name])
                terms = self.regularizer.terms(logits[name], x[name], gate)
                total, pairs = total + terms[0], pairs + terms[1]
        if PROBES in x and self.gate.objective == "agreement":
            gate_loss = self.gate_loss(x[PROBES], logits.get(PROBES))
        return {
            "pair_loss": mean_over_replicas(total, pairs),
            "gate_loss": gate_loss,
            "pairs": sum_over_replicas(pairs),
        }

    def _distilled(
        self, distillation: Distillation, x: dict[str, Any], logits: Any
    ) -> Any:
        block = x.get(LABELLED, {})
        if "teacher" not in block:
            raise ConfigError(
                "Distillation needs a labelled block with the teacher's scores, "
                f"`teacher`. Received: {', '.join(block or x)}"
            )
        teacher = block["teacher"]
        valid = tf.logical_not(tf.math.is_nan(teacher))
        return distillation(logits, teacher, valid)

    def _gate(self, block: dict[str, Any], logits: Any) -> BlockGate:
        def alpha(gaps: Any) -> Any:
            z, r, _ = self._witnesses(block, logits, gaps)
            return self.gate(z, gaps, r)

        def odds(gaps: Any) -> Any:
            z, r, margins = self._witnesses(block, logits, gaps)
            return self.gate.odds(z, gaps, r, margins)

        return BlockGate(alpha, odds)

    def _witnesses(
        self, block: dict[str, Any], logits: Any, gaps: Any
    ) -> tuple[Any, Any, Any]:
        """Signals of a block's items and pairs, and the reference's margins."""

        def uncertainty() -> Any:
            return self.uncertainty(logits, block_rows(block), self.backbone)

        margins = None
        if self.gate.prior:
            if "reference" not in block:
                raise ConfigError(
                    "A gate with a prior needs blocks with a reference model's logits, "
                    f"`reference`. Received: a block of {', '.join(block)}"
                )
            of_item = block["reference"]
            margins = of_item[..., :, tf.newaxis] - of_item[..., tf.newaxis, :]
            # The reference speaks for the model: it has not heard the LLM.
            logits = of_item
        z = item_signals(self.gate.signals, block, uncertainty)
        return z, pair_signals(self.gate.pair_signals, block, logits, gaps), margins

    @property
    def _gate_needs_logits(self) -> bool:
        """Whether supervising the gate takes a pass of the backbone over the probes."""
        if self.gate.prior or self.gate.objective != "agreement":
            return False
        return bool(
            {"uncertainty", "margin"} & {*self.gate.signals, *self.gate.pair_signals}
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, with the backbone, gate and regulariser serialised."""
        serialize = keras.utils.serialize_keras_object
        return {
            **super().get_config(),
            "backbone": serialize(self.backbone),
            "gate": serialize(self.gate),
            "uncertainty": serialize(self.uncertainty),
            "regularizer": serialize(self.regularizer),
            "item_inputs": self.item_inputs,
            "weight": self.weight,
            "distillation": self.distillation and serialize(self.distillation),
            "distillation_weight": self.distillation_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Rebuilds the model."""
        config = dict(config)
        parts = ("backbone", "gate", "uncertainty", "regularizer", "distillation")
        for name in parts:
            if config.get(name) is None:
                continue
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
