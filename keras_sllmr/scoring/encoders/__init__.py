"""Sentence encoders that run here, for encoder teachers."""

from keras_sllmr.scoring.encoders.base import TextEncoder
from keras_sllmr.scoring.encoders.minilm import MiniLM, package_file
from keras_sllmr.scoring.encoders.sentence_transformers import (
    SentenceTransformerEncoder,
)

__all__ = ["MiniLM", "SentenceTransformerEncoder", "TextEncoder", "package_file"]
