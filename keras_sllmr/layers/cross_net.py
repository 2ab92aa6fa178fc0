"""The cross networks of DCN and DCNv2, on matrices `[batch, units]` throughout."""

from typing import Any

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.layers.one_precision import OnePrecision
from keras_sllmr.layers.zero_penalty import NoZeroPenalty


@keras.utils.register_keras_serializable("keras_sllmr")
class CrossNet(NoZeroPenalty, deepctr_layers.CrossNet):
    r"""DeepCTR's layer, computed faster.

    \(x_{l+1} = x_0\, x_l^\top w_l + b_l + x_l\), or with `"matrix"`
    \(x_{l+1} = x_0 \circ (W_l x_l + b_l) + x_l\). See `deepctr.layers.CrossNet` for the
    arguments.

    Example:
        >>> CrossNet(2, "matrix")(tf.ones([3, 4])).shape
        TensorShape([3, 4])

    Reference:
        Wang et al., "Deep & cross network for ad click predictions", ADKDD 2017; "DCN
        V2", WWW 2021.
    """

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """See the class."""
        x = inputs
        for kernel, bias in zip(self.kernels, self.bias, strict=True):
            bias = tf.reshape(bias, [-1])
            if self.parameterization == "vector":
                x = inputs * tf.matmul(x, kernel) + bias + x
            else:
                product = tf.matmul(x, kernel, transpose_b=True)
                x = inputs * tf.nn.bias_add(product, bias) + x
        return x


@keras.utils.register_keras_serializable("keras_sllmr")
class CrossNetMix(NoZeroPenalty, OnePrecision, deepctr_layers.CrossNetMix):
    r"""DeepCTR's layer, with the experts of a layer in one product each way.

    \(x_{l+1} = x_0 \circ \big(\sum_k g_k(x_l)\, U^k_l \tanh(C^k_l \tanh(V^{k\top}_l
    x_l)) + b_l\big) + x_l\), where the softmax \(g\) over the experts sums to 1. See
    `deepctr.layers.CrossNetMix` for the arguments.

    Example:
        >>> CrossNetMix(low_rank=2, num_experts=3)(tf.ones([5, 4])).shape
        TensorShape([5, 4])

    Reference:
        Wang et al., "DCN V2: Improved deep & cross network and practical lessons for
        web-scale learning to rank systems", WWW 2021, section 3.3.
    """

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """See the class."""
        for gate in self.gating:
            # DeepCTR makes their kernels in its first call.
            if not gate.built:
                gate(inputs)
        gates = tf.concat([gate.kernel for gate in self.gating], axis=1)
        experts, rank, units = self.num_experts, self.low_rank, inputs.shape[1]
        x = inputs
        for u, v, c, bias in zip(
            self.U_list, self.V_list, self.C_list, self.bias, strict=True
        ):
            into = tf.reshape(tf.transpose(v, [1, 0, 2]), [units, experts * rank])
            back = tf.reshape(tf.transpose(u, [0, 2, 1]), [experts * rank, units])
            hidden = tf.reshape(tf.tanh(tf.matmul(x, into)), [-1, experts, rank])
            hidden = tf.matmul(tf.transpose(hidden, [1, 0, 2]), c, transpose_b=True)
            hidden = tf.transpose(tf.tanh(hidden), [1, 0, 2])
            # Weighed before the last product, which then sums over the experts.
            weighed = hidden * tf.expand_dims(tf.nn.softmax(tf.matmul(x, gates)), 2)
            mixture = tf.matmul(tf.reshape(weighed, [-1, experts * rank]), back)
            x = inputs * tf.nn.bias_add(mixture, tf.reshape(bias, [-1])) + x
        return x
