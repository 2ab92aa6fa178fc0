"""Settings of a training run, typed and documented."""

from typing import Any, Literal

from pydantic import Field

from keras_sllmr.settings import Settings
from keras_sllmr.training.dataset import BatchSettings

Method = Literal["none", "sllmr"]


class BackboneSettings(Settings):
    """Which backbone, with which hyper-parameters and fields.

    Args:
        name: str. See `backbones.registry.BACKBONES`.
        history_length: int. Events in the history window.
        user_id: bool. Is the user's id a field?
        text: bool. Add the frozen item text vectors as fields?
        hyperparameters: as the backbone's function takes them.
    """

    name: str = "deepfm"
    history_length: int = Field(20, ge=1)
    user_id: bool = False
    text: bool = True
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class SelectiveSettings(Settings):
    """The regulariser and its gate (paper 3.2 to 3.4).

    Args:
        weight: float. λ.
        margin: float. m of the hinge, on the scale of the logits.
        gate_objective: str. `agreement`, `joint` or `fixed`; see `layers.Gate`.
        signals: names of the gate's signals, of `cold`, `tail` and `uncertainty`.
    """

    weight: float = Field(0.1, ge=0)
    margin: float = Field(0.5, gt=0)
    gate_objective: Literal["agreement", "joint", "fixed"] = "agreement"
    signals: tuple[Literal["cold", "tail", "uncertainty"], ...] = Field(
        ("cold", "tail", "uncertainty"), min_length=1
    )


class TrainSettings(Settings):
    """One training run.

    Args:
        backbone: see `BackboneSettings`.
        selective: see `SelectiveSettings`; used by the method `sllmr`.
        batch: see `BatchSettings`.
        learning_rate: float. Of Adam (paper 4.4).
        epochs: int. At most.
        patience: int. Epochs without a better validation AUC before it stops.
        seed: int. Initial weights, orders, negatives.
    """

    backbone: BackboneSettings = BackboneSettings()
    selective: SelectiveSettings = SelectiveSettings()
    batch: BatchSettings = BatchSettings()
    learning_rate: float = Field(1e-3, gt=0)
    epochs: int = Field(12, ge=1)
    patience: int = Field(2, ge=1)
    seed: int = 0
