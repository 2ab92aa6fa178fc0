"""The compressed interaction network of xDeepFM."""

from typing import Any

from keras_sllmr.compat import deepctr_layers, keras
from keras_sllmr.layers.one_precision import OnePrecision


@keras.utils.register_keras_serializable("keras_sllmr")
class CIN(OnePrecision, deepctr_layers.CIN):
    """DeepCTR's layer, with its regularisation in the configuration.

    DeepCTR leaves `l2_reg` out, so that a loaded model would be regularised by 1e-5
    whatever it was trained with. See `deepctr.layers.CIN` for the arguments.

    Example:
        >>> layer = CIN([4, 4], l2_reg=0.0)
        >>> CIN.from_config(layer.get_config()).l2_reg
        0.0
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "l2_reg": self.l2_reg}
