"""The compressed interaction network of xDeepFM."""

from typing import Any

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.layers.one_precision import OnePrecision
from keras_sllmr.layers.zero_penalty import NoZeroPenalty

# Above, the products of all fields cost more than DeepCTR's way, and memory.
_MOST_PRODUCTS = 10_000


@keras.utils.register_keras_serializable("keras_sllmr")
class CIN(NoZeroPenalty, OnePrecision, deepctr_layers.CIN):
    r"""DeepCTR's layer with its regularisation in the configuration, computed faster.

    DeepCTR leaves `l2_reg` out, so that a loaded model would be regularised by 1e-5
    whatever it was trained with. See `deepctr.layers.CIN` for the arguments.

    With linear activations, feature map h of layer k is a polynomial of the fields of
    degree k + 1, and what leaves the layer is its sum over the d embedding places:

    \(\sum_d x^k_{hd} = \sum_n \sum_{i_1 \dots i_n} A^k_{h, i_1 \dots i_n}
    \sum_d e_{i_1 d} \cdots e_{i_n d}\)

    The coefficients A follow from the kernels alone, once a batch, so a row costs its
    \(F^n\) sums of products instead of d feature maps a layer. With other activations,
    or very many fields, DeepCTR's own computation is used.

    Example:
        >>> layer = CIN([4, 4], "linear", l2_reg=0.0)
        >>> layer(tf.ones([2, 3, 5])).shape
        TensorShape([2, 6])
        >>> CIN.from_config(layer.get_config()).l2_reg
        0.0

    Reference:
        Lian et al., "xDeepFM: Combining explicit and implicit feature interactions for
        recommender systems", KDD 2018, section 3.2.
    """

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """See the class."""
        if not self.is_polynomial:
            return super().call(inputs, **kwargs)
        sums = _sums_of_products(inputs, len(self.layer_size) + 1)
        return tf.concat(
            [
                tf.matmul(tf.concat([sums[n] for n in degrees], axis=1), coefficients)
                for degrees, coefficients in self.polynomials()
            ],
            axis=1,
        )

    @property
    def is_polynomial(self) -> bool:
        """Whether the maps are computed as polynomials of the fields."""
        products = self.field_nums[0] ** (len(self.layer_size) + 1)
        return self.activation == "linear" and products <= _MOST_PRODUCTS

    def polynomials(self) -> list[tuple[list[int], Any]]:
        r"""For each layer the coefficients A of the maps that leave it.

        Returns:
            Pairs of degrees and coefficients `[products, maps]`, whose rows are the
            \(F^n\) products of n fields for each degree n in turn.
        """
        fields, last = self.field_nums[0], len(self.layer_size) - 1
        # Layer 0 is the fields themselves.
        coefficients, degrees = tf.eye(fields, dtype=self.compute_dtype), [1]
        results = []
        for k, (kernel, bias) in enumerate(zip(self.filters, self.bias, strict=True)):
            maps, size = self.field_nums[k], self.layer_size[k]
            kernel = tf.transpose(tf.reshape(kernel, [fields, maps, size]), [1, 0, 2])
            by_field = tf.matmul(coefficients, tf.reshape(kernel, [maps, -1]))
            coefficients = tf.concat(
                [tf.reshape(by_field, [-1, size]), tf.expand_dims(bias, 0)], axis=0
            )
            degrees = [degree + 1 for degree in degrees] + [0]
            direct = coefficients
            if self.split_half and k < last:
                coefficients, direct = tf.split(coefficients, 2, axis=1)
            results.append((degrees, direct))
        return results

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "l2_reg": self.l2_reg}


def _sums_of_products(fields: Any, most: int) -> list[Any]:
    """Of each degree n up to `most`: sums over d of products of n fields, `[batch, F^n]`.

    Degree n is the matrix product of the products of n/2 fields with each other.
    """
    count, dim = fields.shape[1:]
    products = [fields]
    while len(products) < (most + 1) // 2:
        longer = tf.expand_dims(products[-1], 2) * tf.expand_dims(fields, 1)
        products.append(tf.reshape(longer, [-1, count ** (len(products) + 1), dim]))
    total = tf.reduce_sum(fields, axis=2)
    sums = [tf.fill([tf.shape(fields)[0], 1], tf.cast(dim, fields.dtype)), total]
    for n in range(2, most + 1):
        # `products[k]` is of k + 1 fields.
        left, right = products[(n - 1) // 2], products[n // 2 - 1]
        product = tf.matmul(left, right, transpose_b=True)
        sums.append(tf.reshape(product, [-1, count**n]))
    return sums
