"""The embedded teacher: MiniLM mixed with TF-IDF over the items' texts."""

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.scoring.calibration import Standardised
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.scoring.teachers.encoder import EncoderTeacher
from keras_sllmr.scoring.teachers.mixture import MixtureTeacher
from keras_sllmr.scoring.teachers.tfidf import TfidfTeacher
from keras_sllmr.store.draws import integers, permutation
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors

_SAMPLE_USERS, _SAMPLE_ITEMS, _KEY = 2000, 10, 201


def embedded_teacher(
    split: LeaveOneOut,
    vectors: TextVectors | None,
    *,
    history: int = 10,
    seed: int = 0,
    weights: tuple[float, float] = (1.0, 1.0),
) -> MixtureTeacher:
    """A teacher that needs no endpoint: mean of standardised MiniLM and TF-IDF scores.

    Args:
        split: the store's split.
        vectors: the items' text vectors; none where their weight is 0.
        history: int. Last events shown (L). Defaults to `10`.
        seed: int. Of the sample that the scores are standardised on.
        weights: floats. Of the text vectors and of TF-IDF; 0 leaves one out. Defaults
            to equal weights.

    Raises:
        ConfigError: when a weight is negative, or both are 0.
        DataError: when the items have no texts.
    """
    users, drawn = standard_rows(split.store.n_users, split.store.n_items, seed)
    shown = history_before(
        split.store.events, users, split.train_lengths[users], length=history
    )
    return standardised_teacher(
        split.store.item_texts, vectors, shown, drawn, weights=weights
    )


def standard_rows(
    n_users: int, n_items: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sample that scores are standardised on: users `[n]`, items `[n, 10]`."""
    users = 1 + permutation(n_users, seed, _KEY)[:_SAMPLE_USERS]
    drawn = 1 + integers(n_items, seed, _KEY, users[:, None], np.arange(_SAMPLE_ITEMS))
    return users, drawn


def standardised_teacher(
    texts: np.ndarray,
    vectors: TextVectors | None,
    shown: np.ndarray,
    drawn: np.ndarray,
    *,
    weights: tuple[float, float] = (1.0, 1.0),
) -> MixtureTeacher:
    """The embedded teacher from the sample that it is standardised on.

    Args:
        texts: str `[n_items + 1]`.
        vectors: as for `embedded_teacher`, as are the errors.
        shown: int `[n, L]`. Histories of a sample of users.
        drawn: int `[n, C]`. Random items for them.
        weights: as for `embedded_teacher`.
    """
    parts: list[tuple[Teacher, float]] = []
    if weights[0]:
        if vectors is None:
            raise ConfigError(
                "The text vectors have a weight and must be given. Received: "
                f"vectors=None, weights={weights}"
            )
        known = "minilm" in vectors.encoder.lower()
        encoder = EncoderTeacher(
            vectors.vectors,
            model=vectors.encoder,
            text_hash=fingerprint(list(texts)),
            name="minilm" if known else "encoder",
        )
        parts.append((encoder, weights[0]))
    if weights[1] or not parts:
        parts.append((TfidfTeacher(texts), weights[1]))
    return MixtureTeacher(
        [Standardised(part, shown, drawn) for part, _ in parts],
        [weight for _, weight in parts],
    )
