"""Settings of a training run, typed and documented."""

from typing import Any, Literal

from pydantic import Field, field_validator

from keras_sllmr.settings import Settings
from keras_sllmr.training.batch_settings import BatchSettings

Signal = Literal[
    "cold",
    "tail",
    "uncertainty",
    "log_history",
    "log_popularity",
    "score_gap",
    "popularity_gap",
    "margin",
]


class BackboneSettings(Settings):
    """Which backbone, with which hyper-parameters and fields.

    Args:
        name: str. See `backbones.registry.BACKBONES`.
        history_length: int. Events in the history window.
        user_id: bool. Is the user's id a field?
        text: bool. Add the frozen item text vectors as fields?
        columns: names of the store's columns to read. Defaults to all.
        hyperparameters: as the backbone's function takes them.
    """

    name: str = "deepfm"
    history_length: int = Field(20, ge=1)
    user_id: bool = False
    text: bool = True
    columns: tuple[str, ...] | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class SelectiveSettings(Settings):
    """The regulariser and its gate (paper 3.2 to 3.4).

    Args:
        weight: float or None. λ. Defaults to 1 of `evidence`, else 0.1 (paper 4.4).
        regularizer: str. `evidence`, see `losses.Evidence`: it first trains a plain
            reference model, for fewer epochs; `pairwise`, the paper's; or `pointwise`,
            its ablation.
        margin: float. m of the pairwise loss, on the scale of the logits.
        form: str. Of the pairwise loss: `hinge`, the paper's, or `logistic`; see
            `losses.PairwiseHinge`.
        max_pairs: int or None. Keeps the pairs that the LLM is most confident of, about
            this many a batch; see `losses.select_pairs`. None keeps all.
        labelled_pairs: bool. Do labelled items that have scores join the guidance?
        gate_objective: str. `agreement`, `joint` or `fixed`; see `layers.Gate`.
        slope: float or None. The gate's κ before training, and for good when it is
            `fixed`. Defaults to 0.4 of `evidence`, whose gaps are log-odds, else 3.
        signals: names of the gate's signals, see `training.signals`.
        shuffled_from: int or None. A control: users with at least so many training
            events get the LLM's scores in a random order; 0 is everybody, None nobody.
        uncertainty: str. How the signal `uncertainty` is measured: `entropy`,
            `confidence` or `mc_dropout`; see `training.uncertainty`.
    """

    weight: float | None = Field(None, ge=0)
    regularizer: Literal["evidence", "pairwise", "pointwise"] = "evidence"
    margin: float = Field(0.5, gt=0)
    form: Literal["hinge", "logistic"] = "hinge"
    max_pairs: int | None = Field(None, ge=1)
    labelled_pairs: bool = False
    gate_objective: Literal["agreement", "joint", "fixed"] = "agreement"
    signals: tuple[Signal, ...] = Field(("cold", "tail", "uncertainty"), min_length=1)
    slope: float | None = Field(None, gt=0)
    shuffled_from: int | None = Field(None, ge=0)
    uncertainty: Literal["entropy", "confidence", "mc_dropout"] = "entropy"

    @field_validator("signals")
    @classmethod
    def _each_once(cls, signals: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(signals)) < len(signals):
            raise ValueError("each signal may be named once")
        return signals


class KDSettings(Settings):
    r"""Global distillation, \(\mathrm{BCE}(p, y) + w\,\mathrm{BCE}(p, t)\).

    Args:
        weight: float. w.
        temperature: float. T of the soft targets \(t = \sigma(\mathrm{logit}(s)/T)\).
        calibrated: bool. Are the teacher's scores first brought to chances on the
            training rows, as a fine-tuned teacher's would be? See `scoring.platt`.
        twice: bool. Soft targets of a softmax twice, as in the published code; see
            `losses.soft_targets`.
    """

    weight: float = Field(0.1, ge=0)
    temperature: float = Field(1.0, gt=0)
    calibrated: bool = True
    twice: bool = False


class KARSettings(Settings):
    """The hybrid-expert adaptor of knowledge vectors; see `layers.HybridExperts`.

    Args:
        shared: int. Experts of both towers.
        specific: int. Experts of each tower alone.
        units: ints. Of an expert's layers.
        dropout: float. Inside the experts.
    """

    shared: int = Field(2, ge=1)
    specific: int = Field(3, ge=1)
    units: tuple[int, ...] = Field((128, 32), min_length=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class LLMCFSettings(Settings):
    """In-context reasoning over retrieved examples; see `layers.InContext`.

    Args:
        width: int. Of a token.
        blocks: int. Of the transformer.
        heads: int. Of its attention.
        hidden: int. Of its SwiGLU.
        reconstruction: float. Weight of the chains' reconstruction.
    """

    width: int = Field(32, ge=2)
    blocks: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    hidden: int = Field(64, ge=1)
    reconstruction: float = Field(1.0, ge=0)


class TrainSettings(Settings):
    """One training run.

    Args:
        backbone: see `BackboneSettings`.
        selective: see `SelectiveSettings`; used by `sllmr`, `global` and `pointwise`.
        kd: see `KDSettings`; used by `kd`.
        kar: see `KARSettings`; used by `kar`.
        llm_cf: see `LLMCFSettings`; used by `llm_cf`.
        batch: see `BatchSettings`.
        loss: str. Base loss on the labelled rows: `bce`, `bpr` or `info_nce`; see
            `losses.registry`.
        learning_rate: float. Of Adam (paper 4.4).
        epochs: int. At most.
        patience: int. Epochs without a better validation AUC before it stops.
        average: bool. Is the model the mean of its epochs' weights, which validation
            then looks at? See `callbacks.weight_average`.
        seed: int. Initial weights, orders, negatives.
    """

    backbone: BackboneSettings = BackboneSettings()
    selective: SelectiveSettings = SelectiveSettings()
    kd: KDSettings = KDSettings()
    kar: KARSettings = KARSettings()
    llm_cf: LLMCFSettings = LLMCFSettings()
    batch: BatchSettings = BatchSettings()
    loss: Literal["bce", "bpr", "info_nce"] = "bce"
    learning_rate: float = Field(1e-3, gt=0)
    epochs: int = Field(20, ge=1)
    patience: int = Field(2, ge=1)
    average: bool = False
    seed: int = 0
