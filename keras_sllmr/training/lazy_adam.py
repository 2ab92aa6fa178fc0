"""Adam that touches only the embedding rows of the batch."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError


@keras.utils.register_keras_serializable("keras_sllmr")
class LazyAdam(keras.optimizers.Adam):
    r"""Adam whose moments of an embedding row move only when the row is in the batch.

    Dense gradients are treated as by `keras.optimizers.Adam`. For a sparse gradient
    the update is Adam's on the gathered rows, so a step's cost does not grow with the
    catalogue; rows outside the batch keep their moments and values.

    Args:
        learning_rate: float or schedule. Defaults to `0.001`.
        **kwargs: as for `keras.optimizers.Adam`; `amsgrad` and `adaptive_epsilon` are
            not supported.

    Raises:
        ConfigError: on an option that is not supported.

    Reference:
        Kingma and Ba, "Adam: A method for stochastic optimization", ICLR 2015.
    """

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any) -> None:
        kwargs.setdefault("name", "LazyAdam")
        kwargs.setdefault("jit_compile", False)
        for name in ("amsgrad", "adaptive_epsilon"):
            if kwargs.get(name):
                raise ConfigError(
                    f"`{name}` must be left off with LazyAdam. Received: {name}="
                    f"{kwargs[name]}"
                )
        super().__init__(learning_rate=learning_rate, **kwargs)

    def update_step(self, gradient: Any, variable: Any) -> None:
        """Updates one variable."""
        if not isinstance(gradient, tf.IndexedSlices):
            self._update_dense(gradient, variable)
            return
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        correction = tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(beta_1, step))
        rate = tf.cast(self.learning_rate, dtype) * correction
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index], self._velocities[index]
        rows, values = gradient.indices, gradient.values
        new_m = beta_1 * tf.gather(m, rows) + (1 - beta_1) * values
        new_v = beta_2 * tf.gather(v, rows) + (1 - beta_2) * tf.square(values)
        change = rate * new_m / (tf.sqrt(new_v) + self.epsilon)
        # Duplicate rows were summed before; a plain write is several times faster
        # than a scattered add.
        m.scatter_update(tf.IndexedSlices(new_m, rows))
        v.scatter_update(tf.IndexedSlices(new_v, rows))
        variable.scatter_update(
            tf.IndexedSlices(tf.gather(variable, rows) - change, rows)
        )

    def _update_dense(self, gradient: Any, variable: Any) -> None:
        """The same in one kernel, where Keras has a pass over memory an operation."""
        index = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2, rate, epsilon = (
            tf.cast(value, variable.dtype)
            for value in (self.beta_1, self.beta_2, self.learning_rate, self.epsilon)
        )
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=gradient,
        )
