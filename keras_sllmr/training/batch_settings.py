"""Sizes of a training batch."""

from typing import Literal

from pydantic import Field

from keras_sllmr.settings import Settings


class BatchSettings(Settings):
    """Sizes of a training batch.

    Args:
        rows: int. Labelled rows: positives, each with its negatives. Defaults to `128`.
        negatives: int. Sampled negatives of a positive (K). Defaults to `1`.
        negative_sampling: str. `uniform` over the catalogue, or `in_batch`: the next
            positives of the batch, so by popularity; those that the user has seen give
            way to uniform ones. Defaults to `uniform`.
        guidance_users: int. Users whose LLM-scored candidates join a batch. Twice as
            many cost a quarter more time and gained nothing on validation.
        probe_users: int. Users whose reliability probe joins a batch.
        gate_probes: int. Probes that supervise the gate, at most half of all there are;
            a quarter of them is kept to judge it by. Their positives leave the labelled
            rows, so that what the model says of them is out of sample.
        cold_max: int. A user is cold with at most this many training events.
        tail_share: float. Share of the catalogue that counts as long tail.
    """

    rows: int = Field(128, ge=2)
    negatives: int = Field(1, ge=1)
    negative_sampling: Literal["uniform", "in_batch"] = "uniform"
    guidance_users: int = Field(2, ge=1)
    probe_users: int = Field(2, ge=1)
    gate_probes: int = Field(2000, ge=2)
    cold_max: int = Field(3, ge=0)
    tail_share: float = Field(0.2, gt=0, lt=1)
