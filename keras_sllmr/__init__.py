"""Selective LLM-guided regularisation for Keras ranking models.

Data flows one way: `store` → `scoring` → `backbones` → `training` → `evaluation` →
`serving`; `cli` composes them. The names below are the public interface; each is
imported when it is first used, so that `import keras_sllmr` is quick.
"""

import importlib
import os
from typing import Any

# Must happen before TensorFlow is first used; `compat` checks that it took effect.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"

_PUBLIC = {
    "FeatureStore": "keras_sllmr.store.feature_store",
    "LeaveOneOut": "keras_sllmr.store.split",
    "ScoreTable": "keras_sllmr.store.score_table",
    "TextVectors": "keras_sllmr.store.text_vectors",
    "catalogue": "keras_sllmr.store.user_slice",
    "CandidateSettings": "keras_sllmr.scoring.candidates",
    "LLMSettings": "keras_sllmr.scoring.llm.settings",
    "LLMTeacher": "keras_sllmr.scoring.teachers.llm",
    "score_candidates": "keras_sllmr.scoring.job",
    "FeatureSpec": "keras_sllmr.backbones.features",
    "build_backbone": "keras_sllmr.backbones.registry",
    "Gate": "keras_sllmr.layers.gate",
    "BPR": "keras_sllmr.losses.bpr",
    "Evidence": "keras_sllmr.losses.evidence",
    "InfoNCE": "keras_sllmr.losses.info_nce",
    "PairwiseHinge": "keras_sllmr.losses.pairwise_hinge",
    "PointwiseMSE": "keras_sllmr.losses.pointwise",
    "BatchSettings": "keras_sllmr.training.dataset",
    "FeatureTables": "keras_sllmr.training.feature_tables",
    "RecordBatches": "keras_sllmr.training.record_batches",
    "SampledAUC": "keras_sllmr.training.callbacks.sampled_auc",
    "LazyAdam": "keras_sllmr.training.lazy_adam",
    "SelectiveModel": "keras_sllmr.training.selective_model",
    "TrainingData": "keras_sllmr.training.dataset",
    "TrainingRecords": "keras_sllmr.training.records",
    "GridScorer": "keras_sllmr.evaluation.grid_scorer",
    "export_model": "keras_sllmr.serving.export",
    "RankClient": "keras_sllmr.serving.client",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
