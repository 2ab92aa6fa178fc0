"""Whether a backbone reads what a store and its spec can give."""

from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.retrieval import require_retrieval
from keras_sllmr.store.feature_store import FeatureStore


def check_backbone(
    backbone: Any, spec: FeatureSpec, store: FeatureStore, retrieval: Any = None
) -> None:
    """Raises `ConfigError` unless the backbone reads what `store` and `spec` can give.

    Args:
        backbone: see `RawIdScorer`.
        spec: sizes of the features.
        store: the feature store.
        retrieval: finds a row's examples. Defaults to none.
    """
    sizes = (spec.n_users, spec.n_items, spec.n_attributes)
    found = (store.n_users, store.n_items, store.n_attributes)
    if sizes != found:
        raise ConfigError(
            "`spec` must have the store's numbers of users, items and attributes, "
            f"{found}. Received: {sizes}. Export with the store it was trained on."
        )
    length, width = spec.history_length, spec.attribute_width
    shapes = {
        "user": [],
        "item": [],
        "history": [length],
        "item_attributes": [width],
        "history_attributes": [length * width],
        "examples": [spec.examples],
        **{column.name: list(column.shape) for column in spec.columns},
    }
    inputs = getattr(backbone, "input", None)
    if not isinstance(inputs, dict) or not set(inputs) <= set(shapes):
        received = sorted(inputs) if isinstance(inputs, dict) else type(backbone)
        raise ConfigError(
            "`backbone` must be a functional keras.Model that takes a dict of features "
            f"among {', '.join(shapes)}; export the `backbone` of a selective model. "
            f"Received: {received}"
        )
    require_retrieval(inputs, retrieval)
    for column in spec.columns:
        if column.name in inputs:
            column.column(store)  # raises when there is none like it
    for name, tensor in inputs.items():
        # Keras itself turns [N] into [N, 1].
        allowed = [shapes[name]] if shapes[name] else [[], [1]]
        if not any(tensor.shape[1:].is_compatible_with(shape) for shape in allowed):
            raise ConfigError(
                f"The backbone's input {name!r} must have the shape that `spec` says, "
                f"{shapes[name]} a row. Received: {list(tensor.shape[1:])}"
            )
