"""Selective LLM-guided regularisation for Keras ranking models."""

import os

# Must happen before TensorFlow is first used; `compat` checks that it took effect.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"
