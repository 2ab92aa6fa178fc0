"""A method's model: a backbone, what is injected into it, and what trains it."""

from dataclasses import replace

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.in_context import in_context
from keras_sllmr.backbones.knowledge import knowledge
from keras_sllmr.backbones.ranker import Inject
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.distillation import Distillation
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.losses.pointwise import PointwiseMSE
from keras_sllmr.losses.registry import base_loss
from keras_sllmr.losses.regularizer import Regularizer
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.methods import method_named, with_fixed
from keras_sllmr.training.offline_inputs import OfflineInputs
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.settings import SelectiveSettings, TrainSettings
from keras_sllmr.training.signals import split_signals
from keras_sllmr.training.uncertainty import uncertainty_named


def feature_spec(
    method: Method, split: LeaveOneOut, settings: TrainSettings, inputs: OfflineInputs
) -> FeatureSpec:
    """What a method's backbone reads of a store."""
    backbone, examples = settings.backbone, inputs.examples
    spec = FeatureSpec.of(
        split.store,
        history_length=backbone.history_length,
        user_id=backbone.user_id,
        columns=backbone.columns,
    )
    return replace(
        spec,
        user_index=method == "kar",
        examples=0 if examples is None else examples.neighbours.shape[-1],
    )


def injection(
    method: Method,
    split: LeaveOneOut,
    spec: FeatureSpec,
    settings: TrainSettings,
    inputs: OfflineInputs,
) -> Inject | None:
    """What a method adds to its backbone's input, if anything."""
    if method == "kar" and inputs.knowledge is not None:
        table = inputs.knowledge
        return knowledge(
            table.users, table.items, seed=settings.seed, **settings.kar.model_dump()
        )
    if method == "llm_cf" and inputs.examples is not None:
        pool = inputs.examples
        names = [name for name in spec.inputs() if name not in spec.knowledge_inputs]
        tables = FeatureTables(split, spec, names)
        features = {
            name: value.numpy()
            for name, value in tables.features(
                pool.users, pool.positions, pool.items
            ).items()
        }
        return in_context(
            features,
            pool.labels,
            pool.vectors,
            seed=settings.seed,
            **settings.llm_cf.model_dump(),
        )
    return None


def build_model(
    method: Method,
    spec: FeatureSpec,
    settings: TrainSettings,
    text_vectors: np.ndarray | None = None,
    inject: Inject | None = None,
) -> SelectiveModel:
    """The compiled model of a method; `none` is the plain backbone in the same frame.

    Args:
        method: its name.
        spec: see `feature_spec`.
        settings: of the training.
        text_vectors: float `[n_items + 1, t]`. For the text fields, or none.
        inject: see `injection`.

    Raises:
        ConfigError: on an unknown method, or hyper-parameters that the backbone lacks.
    """
    settings = with_fixed(method, settings)
    backbone = build_backbone(
        settings.backbone.name,
        spec,
        text_vectors=text_vectors,
        seed=settings.seed,
        inject=inject,
        **settings.backbone.hyperparameters,
    )
    selective, kd = settings.selective, settings.kd
    of_items, of_pairs = split_signals(selective.signals)
    evidence = selective.regularizer == "evidence"
    of_row = (*spec.item_inputs, *spec.pair_inputs)
    model = SelectiveModel(
        backbone,
        item_inputs=[name for name in of_row if name in backbone.input],
        gate=Gate(
            of_items,
            pair_signals=of_pairs,
            objective=selective.gate_objective,
            initial_slope=selective.slope or (0.4 if evidence else 3.0),
            prior=evidence,
            name="gate",
        ),
        uncertainty=uncertainty_named(selective.uncertainty),
        regularizer=_regularizer(selective),
        weight=weight_of(selective) if method_named(method).guided else 0.0,
        distillation=Distillation(kd.temperature, kd.twice) if method == "kd" else None,
        distillation_weight=kd.weight,
    )
    compile_model(model, settings)
    return model


def compile_model(model: SelectiveModel, settings: TrainSettings) -> None:
    """Compiles as every method is compiled."""
    model.compile(
        LazyAdam(settings.learning_rate),
        base_loss(settings.loss),
        steps_per_execution=32
        if model.distribute_strategy.num_replicas_in_sync == 1
        else 1,
    )


def weight_of(selective: SelectiveSettings) -> float:
    """λ of a guided method: as set, or the regulariser's default."""
    if selective.weight is not None:
        return selective.weight
    return 1.0 if selective.regularizer == "evidence" else 0.1


def _regularizer(selective: SelectiveSettings) -> Regularizer:
    if selective.regularizer == "evidence":
        return Evidence()
    if selective.regularizer == "pointwise":
        return PointwiseMSE()
    return PairwiseHinge(
        selective.margin, form=selective.form, max_pairs=selective.max_pairs
    )
