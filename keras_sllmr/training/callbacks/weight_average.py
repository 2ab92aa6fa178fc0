"""The mean of a model's weights over its epochs, monitored in the model's place."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.compat import keras, tf


class WeightAverage(keras.callbacks.Callback):
    r"""Keeps the mean of the weights at the ends of all epochs in another model.

    \(\bar w_k = \bar w_{k-1} + (w_k - \bar w_{k-1}) / k\). Where single epochs overfit,
    each elsewhere, their mean does much less. It trains nothing: the model that is
    trained never sees the mean.

    Args:
        average: a model of the same weights, which takes the mean; after a restart it
            must hold that of the epochs before.
        monitors: callbacks that look at the average after each epoch, and not at the
            model that is trained, such as a `SampledAUC`.

    Example:
        >>> def make(start):
        ...     layer = keras.layers.Dense(1, use_bias=False, kernel_initializer=start)
        ...     return keras.Sequential([keras.Input((1,)), layer])
        >>> model, average = make("zeros"), make("ones")
        >>> model.compile(keras.optimizers.SGD(0.25), "mse")
        >>> mean = WeightAverage(average)
        >>> rows = tf.ones([4, 1])
        >>> _ = model.fit(rows, rows, epochs=2, callbacks=[mean], verbose=0)
        >>> [float(one.get_weights()[0][0, 0]) for one in (model, average)]
        [0.75, 0.625]

    Reference:
        Izmailov et al., "Averaging weights leads to wider optima and better
        generalization", UAI 2018, with a constant rate and from the first epoch on.
    """

    def __init__(self, average: Any, *, monitors: Sequence[Any] = ()) -> None:
        super().__init__()
        # Steps' logs are not read; a parameter server's worker may still owe them.
        self._supports_tf_logs = True
        self.average, self.monitors = average, list(monitors)

    def set_model(self, model: Any) -> None:
        """Takes the model that is trained; the monitors get the average."""
        super().set_model(model)
        for monitor in self.monitors:
            monitor.set_model(self.average)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the mean, then asks the monitors."""
        for mean, value in zip(self.average.weights, self.model.weights, strict=True):
            # Counters and the like have no mean.
            if epoch == 0 or not tf.as_dtype(mean.dtype).is_floating:
                mean.assign(value)
            else:
                mean.assign_add((value - mean) / (epoch + 1))
        for monitor in self.monitors:
            monitor.on_epoch_end(epoch, logs)
