"""Which scored items guide a model, which supervise its gate, and which judge that."""

from dataclasses import dataclass

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut, Targets
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.guidance import GuidanceBlocks

_GATE_PROBES = 304
#: half of them supervise and judge the gate.
_FEWEST_PROBES = 4


@dataclass(frozen=True)
class Dealt:
    """A score table's items by what they are for.

    Args:
        train: the labelled rows, without the positives of the gate's probes: what a
            model says of those is out of sample.
        guidance: what guides.
        probes: what supervises the gate.
        held_out: what judges the gate.
    """

    train: Targets
    guidance: GuidanceBlocks
    probes: GuidanceBlocks
    held_out: GuidanceBlocks


def deal(
    split: LeaveOneOut,
    scores: ScoreTable,
    *,
    settings: BatchSettings,
    labelled_pairs: bool = False,
    shuffled_from: int | None = None,
    seed: int = 0,
) -> Dealt:
    """Deals a score table's items out to guidance, the gate and its judges.

    Args:
        split: the store's split.
        scores: the LLM's score table.
        settings: how many probes the gate gets.
        labelled_pairs: bool. Do the other probes join the guidance?
        shuffled_from: int. Users with at least so many training events get their scores
            in a random order. Defaults to nobody.
        seed: int. Of the draw of probes and of that order.

    Raises:
        DataError: when the score table has no pair to learn from, or too few probes.
    """

    def scored(probes: bool) -> GuidanceBlocks:
        block = GuidanceBlocks.of(scores, probes=probes)
        if shuffled_from is None:
            return block
        chosen = split.train_lengths[block.users] >= shuffled_from
        return block.shuffled(chosen, seed)

    guidance, probes = scored(probes=False), scored(probes=True)
    if len(probes) < _FEWEST_PROBES:
        raise DataError(
            f"Guidance needs probes of at least {_FEWEST_PROBES} users. Received: "
            f"{len(probes)}. Score more users, or turn the probes on."
        )
    order = permutation(len(probes), seed, _GATE_PROBES)
    chosen = min(settings.gate_probes, len(probes) // 2)
    judges = max(1, chosen // 4)
    if labelled_pairs:
        guidance = guidance.joined(probes.take(order[chosen:]))
    return Dealt(
        train=_without(split.train, probes.take(order[:chosen])),
        guidance=guidance,
        probes=probes.take(order[judges:chosen]),
        held_out=probes.take(order[:judges]),
    )


def _without(train: Targets, probes: GuidanceBlocks) -> Targets:
    """The labelled rows but for the probes' hidden positives."""
    longest = 1 + max(train.positions.max(), probes.positions.max())
    keys = train.users * longest + train.positions
    kept = ~np.isin(keys, probes.users * longest + probes.positions)
    return Targets(train.users[kept], train.positions[kept], train.items[kept])
