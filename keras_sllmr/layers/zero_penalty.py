"""Leaves out penalties of strength 0, which cost time and add nothing."""

from typing import Any

from keras_sllmr.compat import keras


class NoZeroPenalty(keras.layers.Layer):
    r"""Mixin of a layer whose L2 regularisers of strength 0 are none.

    DeepCTR's layers regularise their kernels whatever the strength is, and a training
    step sweeps every kernel for \(0 \lVert W \rVert^2\) and its gradient.
    """

    def add_weight(self, *args: Any, regularizer: Any = None, **kwargs: Any) -> Any:
        """Makes a weight; see Keras."""
        if isinstance(regularizer, keras.regularizers.L2) and not regularizer.l2:
            regularizer = None
        return super().add_weight(*args, regularizer=regularizer, **kwargs)
