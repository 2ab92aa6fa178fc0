"""DIN's attention of a target to a history, over the filled places alone."""

from typing import Any

from keras_sllmr.compat import deepctr_layers, in_xla, keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.one_precision import OnePrecision


@keras.utils.register_keras_serializable("keras_sllmr")
class AttentionPooling(OnePrecision, deepctr_layers.AttentionSequencePoolingLayer):
    r"""DeepCTR's layer, computed faster where masked keys are zeros.

    \(\sum_k a(q, h_k)\, h_k\) with the local activation unit \(a(q, h) =
    \mathrm{MLP}[q, h, q - h, q \circ h]\). The first product is split by its inputs,

    \([q, h, q - h, q \circ h]\, W = q\,(W_1 + W_3) + h\,(W_2 - W_3) + (q \circ h) W_4\),

    so that the query's share is computed once a row; and only filled places are
    computed, with one more a row that stands for its padding in Dice's batch statistics,
    as often as the row has padding. See `deepctr.layers.AttentionSequencePoolingLayer`
    for the arguments. Under XLA, and with an activation layer of your own, DeepCTR's
    computation is used.

    Masked keys must be zeros, as `EmbeddingBag` gives them; their gradient is zero.

    Raises:
        ConfigError: when called without a mask that `supports_masking` promises.

    Example:
        >>> layer = AttentionPooling([4], "dice", supports_masking=True)
        >>> target, history = tf.ones([2, 1, 3]), tf.ones([2, 5, 3])
        >>> layer([target, history], mask=[None, tf.fill([2, 5], True)]).shape
        TensorShape([2, 1, 3])

    Reference:
        Zhou et al., "Deep interest network for click-through rate prediction", KDD
        2018, sections 4.3 and 5.3.
    """

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """See the class."""
        unit = self.local_att
        if not unit.built:
            # DeepCTR makes the weights in its first call.
            unit([inputs[0], inputs[1]], training=False)
        if in_xla() or not self._is_known:
            return super().call(inputs, mask=mask, training=training)
        filled = self._filled(inputs, mask)
        places = tf.where(filled)
        rows = places[:, 0]
        keys = tf.gather_nd(inputs[1], places)
        scores = self._scores(
            tf.squeeze(inputs[0], axis=1), keys, rows, filled, training
        )
        if self.weight_normalization or self.return_score:
            shape = tf.shape(filled, out_type=places.dtype)
            spread = tf.scatter_nd(places, scores, shape)
            if self.weight_normalization:
                spread = tf.nn.softmax(tf.where(filled, spread, spread.dtype.min))
            if self.return_score:
                return tf.expand_dims(spread, axis=1)
            scores = tf.gather_nd(spread, places)
        pooled = tf.math.unsorted_segment_sum(
            keys * tf.expand_dims(scores, axis=1), rows, tf.shape(filled)[0]
        )
        return tf.expand_dims(pooled, axis=1)

    @property
    def _is_known(self) -> bool:
        """Whether the activations are ones that can be computed apart."""
        known = (deepctr_layers.Dice, keras.layers.Activation)
        layers = self.local_att.dnn.activation_layers
        return bool(layers) and all(type(one) in known for one in layers)

    @property
    def has_table(self) -> bool:
        """Whether `table` gives all that the layer knows of a query and a key."""
        return self.supports_masking and not self.return_score and self._is_known

    def table(self, query: Any, keys: Any, keys_at_once: int = 32) -> Any:
        """a(q, h) of every query with every key, for inference.

        Args:
            query: `[queries, d]`.
            keys: `[keys, d]`.
            keys_at_once: int. Many make large products; few stay in the cache, and
                leave less to pad. Logits may differ by rounding. Defaults to `32`.

        Returns:
            `[keys, queries]`.
        """
        dnn = self.local_att.dnn
        w_query, w_key, w_difference, w_product = tf.split(dnn.kernels[0], 4)
        of_keys = tf.nn.bias_add(tf.matmul(keys, w_key - w_difference), dnn.bias[0])
        of_query = w_query + w_difference
        dim, units = w_product.shape

        def some(chosen: Any) -> Any:
            # What a key does to a query is linear: keys as kernels, side by side.
            columns = tf.transpose(tf.gather(keys, chosen))[:, :, tf.newaxis]
            kernels = columns * w_product[:, tf.newaxis] + of_query[:, tf.newaxis]
            x = tf.matmul(query, tf.reshape(kernels, [dim, keys_at_once * units]))
            x = tf.nn.bias_add(x, tf.reshape(tf.gather(of_keys, chosen), [-1]))
            scores = self._activated(tf.reshape(x, [-1, units]), None, training=False)
            return tf.reshape(scores, [-1, keys_at_once])

        count = tf.shape(keys)[0]
        groups = -(-count // keys_at_once)
        chosen = tf.minimum(tf.range(groups * keys_at_once), count - 1)
        found = tf.map_fn(
            some,
            tf.reshape(chosen, [-1, keys_at_once]),
            fn_output_signature=tf.TensorSpec([None, keys_at_once], query.dtype),
            parallel_iterations=1,
        )
        found = tf.transpose(found, [0, 2, 1])
        return tf.reshape(found, [-1, tf.shape(query)[0]])[:count]

    def _filled(self, inputs: Any, mask: Any) -> Any:
        """Which places hold keys, `[batch, N]`."""
        if not self.supports_masking:
            return tf.sequence_mask(inputs[2][:, 0], inputs[1].shape[1])
        if mask is None or mask[-1] is None:
            raise ConfigError(
                "With `supports_masking`, the keys must have a Keras mask. Received: "
                f"mask={mask}"
            )
        return mask[-1]

    def _scores(
        self, query: Any, keys: Any, rows: Any, filled: Any, training: Any
    ) -> Any:
        """a(q, h) of the filled places, `[places]`."""
        dnn = self.local_att.dnn
        w_query, w_key, w_difference, w_product = tf.split(dnn.kernels[0], 4)
        of_query = tf.nn.bias_add(tf.matmul(query, w_query + w_difference), dnn.bias[0])
        both = tf.concat([keys, tf.gather(query, rows) * keys], axis=1)
        kernel = tf.concat([w_key - w_difference, w_product], axis=0)
        x = tf.matmul(both, kernel) + tf.gather(of_query, rows)
        times = None
        if training is not False:
            # A key of zeros leaves the query's share alone.
            x = tf.concat([x, of_query], axis=0)
            padding = tf.reduce_sum(tf.cast(~filled, x.dtype), axis=1)
            times = tf.concat([tf.ones_like(rows, x.dtype), padding], axis=0)
        return self._activated(x, times, training)[: tf.shape(rows)[0]]

    def _activated(self, x: Any, times: Any, training: Any) -> Any:
        """a(q, h) from the first layer's pre-activations, `[n]`."""
        unit = self.local_att
        dnn = unit.dnn
        for i, activation in enumerate(dnn.activation_layers):
            if i:
                x = tf.nn.bias_add(tf.matmul(x, dnn.kernels[i]), dnn.bias[i])
            if isinstance(activation, deepctr_layers.Dice):
                x = _dice(activation, x, times, training)
            else:
                x = activation(x)
        return tf.nn.bias_add(tf.matmul(x, unit.kernel), unit.bias)[:, 0]


def _dice(layer: Any, x: Any, times: Any, training: Any) -> Any:
    """DeepCTR's Dice of rows `[n, units]`, of which each counts some `times`."""
    # Its normalisation knows three axes, and takes any weights for a mask.
    mask = None if times is None else tf.expand_dims(times, axis=0)
    normed = layer.bn(tf.expand_dims(x, axis=0), training=training, mask=mask)
    share = tf.sigmoid(tf.squeeze(normed, axis=0))
    return x * (layer.alphas + (1 - layer.alphas) * share)
