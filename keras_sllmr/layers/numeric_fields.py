"""Fields of numbers: each one times an embedding of its own."""

from typing import Any

from keras_sllmr.compat import keras, tf


@keras.utils.register_keras_serializable("keras_sllmr")
class NumericFields(keras.layers.Layer):
    r"""The embedding \(x_k e_k\) of each number \(x_k\), so that 0 gives zeros.

    Args:
        dim: int. d.
        stddev: float ≥ 0. Standard deviation of the initial embeddings. Defaults to
            `0.01`.
        first_order: bool. Hold a weight beside each embedding? They start at zero.
            Defaults to `False`.

    Call arguments:
        inputs: a dict of features to floats `[batch]`, the same at every call; taken
            in the order of their names.

    Returns:
        Embeddings `[batch, K, d]`. With `first_order` a pair: these and the sum of the
        numbers times their weights, `[batch, 1]`.

    Example:
        >>> fields = NumericFields(3, first_order=True)
        >>> embeddings, weights = fields({"age": tf.ones([4]), "price": tf.zeros([4])})
        >>> embeddings.shape, weights.shape
        (TensorShape([4, 2, 3]), TensorShape([4, 1]))
    """

    def __init__(
        self,
        dim: int,
        *,
        stddev: float = 0.01,
        first_order: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim, self.stddev, self.first_order = dim, float(stddev), first_order

    def build(self, input_shape: Any) -> None:
        """Makes an embedding a feature."""
        features = len(input_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(features, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=self.stddev),
        )
        if self.first_order:
            self.linear = self.add_weight(
                name="linear", shape=(features, 1), initializer="zeros"
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """See the class."""
        numbers = tf.stack(
            [tf.reshape(inputs[k], [-1]) for k in sorted(inputs)], axis=1
        )
        out = numbers[:, :, tf.newaxis] * self.embeddings
        if not self.first_order:
            return out
        return out, tf.matmul(numbers, self.linear)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "stddev": self.stddev,
            "first_order": self.first_order,
        }
