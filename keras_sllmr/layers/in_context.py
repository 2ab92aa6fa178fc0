"""LLM-CF's reasoning in context: labelled examples before the row to predict."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.causal_transformer import CausalTransformer
from keras_sllmr.losses.reconstruction import cosine_reconstruction


@keras.utils.register_keras_serializable("keras_sllmr")
class InContext(keras.layers.Layer):
    r"""The last hidden state of a causal transformer over examples and a row.

    Each of K examples gives three tokens, \(\mathrm{MLP}_x(x_k)\) of its fields,
    \(\mathrm{MLP}_c(c_k)\) of its chain of thought's vector and an embedding of its
    label; the row to predict gives one more, \(\mathrm{MLP}_x(x)\). In training the
    layer adds the loss \(w (1 - \overline{\cos}(\mathrm{MLP}_r(h_k), c_k))\), where
    \(h_k\) is the hidden state at the example's first token: what is known of it so far
    foretells its chain.

    Args:
        width: int. Of a token. Defaults to `32`.
        blocks: int. Of the transformer. Defaults to `2`.
        heads: int. Of its attention. Defaults to `2`.
        hidden: int. Of its SwiGLU. Defaults to `64`.
        row_units: int. Hidden units of the rows' perceptron. Defaults to `128`.
        chain_units: int. Of the chains', and of the reconstruction's. Defaults to `256`.
        reconstruction: float ≥ 0. w. Defaults to `1.0`.
        seed: int. Of the initial weights. Defaults to `0`.

    Call arguments:
        inputs: the row's fields `[batch, m]`, the examples' `[batch * K, m]`, their
            chains' vectors `[batch * K, t]`, their labels 0 or 1, `[batch * K]`, and
            the indices of the examples, int `[batch, K]`, where 0 is none.

    Returns:
        `[batch, width]`.

    Reference:
        Sun et al., "Large language models enhanced collaborative filtering", CIKM 2024.
    """

    def __init__(
        self,
        width: int = 32,
        *,
        blocks: int = 2,
        heads: int = 2,
        hidden: int = 64,
        row_units: int = 128,
        chain_units: int = 256,
        reconstruction: float = 1.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width, self.blocks, self.heads, self.hidden = width, blocks, heads, hidden
        self.row_units, self.chain_units = row_units, chain_units
        self.reconstruction, self.seed = float(reconstruction), seed
        self._transformer = CausalTransformer(
            blocks, heads, hidden, seed=seed, name="transformer"
        )

    def build(self, input_shape: Sequence[Any]) -> None:
        """Makes the perceptrons."""
        fields, vector = int(input_shape[0][-1]), int(input_shape[2][-1])

        def mlp(name: str, given: int, units: int, out: int) -> Any:
            made = keras.Sequential(
                [
                    keras.layers.Dense(units, activation="relu", name="hidden"),
                    keras.layers.Dense(out, name="out"),
                ],
                name=name,
            )
            made.build((None, given))
            return made

        self._row = mlp("row", fields, self.row_units, self.width)
        self._chain = mlp("chain", vector, self.chain_units, self.width)
        self._foretell = mlp("foretell", self.width, self.chain_units, vector)
        self._label = self.add_weight(
            name="label", shape=(2, self.width), initializer="glorot_uniform"
        )
        super().build(input_shape)

    def call(self, inputs: Sequence[Any], training: bool | None = None) -> Any:
        """See the class."""
        row, examples, chains, labels, index = inputs
        valid = index > 0
        count = index.shape[1]
        chains = tf.cast(chains, self.compute_dtype)
        label = tf.gather(tf.cast(self._label, self.compute_dtype), labels)
        tokens = tf.stack([self._row(examples), self._chain(chains), label], axis=1)
        tokens = tf.reshape(tokens, [-1, 3 * count, self.width])
        tokens = tf.concat([tokens, self._row(row)[:, tf.newaxis]], axis=1)
        # The row itself is always there to look at.
        seen = tf.pad(
            tf.repeat(valid, 3, axis=1), [[0, 0], [0, 1]], constant_values=True
        )
        states = self._transformer(tokens, valid=seen)
        if training and self.reconstruction:
            first = tf.reshape(states[:, : 3 * count : 3], [-1, self.width])
            loss = cosine_reconstruction(
                self._foretell(first), chains, tf.reshape(valid, [-1])
            )
            self.add_loss(self.reconstruction * loss)
        return states[:, -1]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "width": self.width,
            "blocks": self.blocks,
            "heads": self.heads,
            "hidden": self.hidden,
            "row_units": self.row_units,
            "chain_units": self.chain_units,
            "reconstruction": self.reconstruction,
            "seed": self.seed,
        }
