"""Texts about users, items and choices that a language model writes.

The counterpart of `descriptions`, which makes them of the items' texts alone.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.descriptions import user_texts
from keras_sllmr.scoring.llm.text_template import Values
from keras_sllmr.scoring.llm.writer import TextWriter
from keras_sllmr.scoring.progress import Progress
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut

#: One a row; none for nothing to ask.
Prompts: TypeAlias = list[Values | None]


def written_knowledge(
    split: LeaveOneOut,
    users: TextWriter,
    items: TextWriter,
    *,
    length: int = 20,
    ends: np.ndarray | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], list[str]]:
    """What each user prefers and what each item is, in a language model's words (KAR).

    A user's text goes on with what they chose in training, as `descriptions.user_texts`
    tells it: last, since an encoder cuts off ends.

    Args:
        split: the store's split; of a user, only training events are shown.
        users: writes of `history`, e.g. with the template `preferences`.
        items: writes of `item`, e.g. with the template `item_facts`.
        length: int. Last training events shown. Defaults to `20`.
        ends: int `[n_users + 1]`. Only events before this position are shown. Defaults
            to all training events.
        progress: called with (done, all) texts of the users and then of the items.

    Returns:
        `n_users + 1` and `n_items + 1` texts; "" for row 0, for what has no text to
        show, and where no answer came, which the writers' reports count.

    Raises:
        ConfigError: when a template needs something else.
        EndpointError: when the endpoint is down; what came is kept.

    Example:
        >>> writer = TextWriter.open(settings, "preferences", ledger)  # doctest: +SKIP
        >>> written_knowledge(split, writer, writer.using("item_facts"))[0][1]
        ... # doctest: +SKIP
        'Practical everyday products … The user chose, latest first: …'
    """
    preferences = users.write(
        user_prompts(split, users, length, ends), progress=progress
    )
    facts = items.write(item_prompts(split, items), progress=progress)
    chosen = user_texts(split, length, ends=ends)
    return [
        f"{text} {told}" if text else ""
        for text, told in zip(preferences, chosen, strict=True)
    ], facts


def written_chains(
    split: LeaveOneOut,
    users: np.ndarray,
    positions: np.ndarray,
    items: np.ndarray,
    labels: np.ndarray,
    *,
    writer: TextWriter,
    judge: TextWriter,
    samples: int = 3,
    length: int = 10,
    progress: Progress | None = None,
) -> list[str]:
    """Why labelled rows were chosen or not, the best of several tries (LLM-CF).

    Each row's chain is written `samples` times; of those that differ, the judge's
    highest mean rating wins, the first of equals. No or unreadable ratings count as 0.

    Args:
        split: the store's split.
        users: int `[rows]`. User indices; 0 for no row.
        positions: int `[rows]`. Of training targets; only events before them are shown.
        items: int `[rows]`. The items in question.
        labels: int `[rows]`. 1 when it was chosen, else 0.
        writer: writes of `history`, `item` and `label`, e.g. with the template
            `chain_of_thought`.
        judge: rates such a `chain`, e.g. with the template `judge_chain`.
        samples: int. Chains written a row. Defaults to `3`.
        length: int. Last events shown. Defaults to `10`.
        progress: called with (done, all) chains written and then rated.

    Returns:
        `rows` texts; "" for item 0, for what has no text to show, and where no answer
        came. The reports of writer and judge count what is missing.

    Raises:
        ConfigError: when a template needs something else, or the judge's does not rate.
        DataError: on a row that is not of training.
        EndpointError: when the endpoint is down; what came is kept.

    Example:
        >>> writer = TextWriter.open(settings, "chain_of_thought", ledger)
        ... # doctest: +SKIP
        >>> judge = writer.using("judge_chain", parameters={"temperature": 0.0})
        ... # doctest: +SKIP
        >>> written_chains(split, *rows, writer=writer, judge=judge)  # doctest: +SKIP
    """
    ratings = judge.template.settings.ratings
    if ratings is None:
        raise ConfigError(
            "The judge's template must ask for ratings. Received: "
            f"{judge.template.name!r}. Use `judge_chain` or one like it."
        )
    prompts = chain_prompts(
        split, writer, users, positions, items, labels, length=length
    )
    written = writer.write(prompts, samples=samples, progress=progress)
    rows = len(prompts)
    tries = [
        list(dict.fromkeys(filter(None, written[row::rows]))) for row in range(rows)
    ]
    # Where there is no choice, nothing depends on a rating.
    asked = [
        (row, chain)
        for row in range(rows)
        if len(tries[row]) > 1
        for chain in tries[row]
    ]
    said = judge.write(judge_prompts(prompts, asked), progress=progress)
    rated = {
        each: float(np.mean(ratings.read(text) or 0.0))
        for each, text in zip(asked, said, strict=True)
    }
    return [
        max(chains, key=lambda chain: rated.get((row, chain), 0.0), default="")
        for row, chains in enumerate(tries)
    ]


def user_prompts(
    split: LeaveOneOut,
    writer: TextWriter,
    length: int,
    ends: np.ndarray | None = None,
) -> Prompts:
    """What is shown of each user: the last training events; none of row 0."""
    names = writer.shown(split.store.item_texts)
    users = np.arange(split.store.n_users + 1)
    ends = split.train_lengths if ends is None else ends
    shown = history_before(split.store.events, users, ends, length=length)
    histories = ([names[item] for item in row if names[item]] for row in shown)
    return [{"history": history} if history else None for history in histories]


def item_prompts(split: LeaveOneOut, writer: TextWriter) -> Prompts:
    """What is shown of each item: its text; none of row 0."""
    names = writer.shown(split.store.item_texts)
    return [{"item": name} if name else None for name in names]


def chain_prompts(
    split: LeaveOneOut,
    writer: TextWriter,
    users: np.ndarray,
    positions: np.ndarray,
    items: np.ndarray,
    labels: np.ndarray,
    *,
    length: int = 10,
) -> Prompts:
    """What is shown of labelled rows; see `written_chains`."""
    users, positions = np.asarray(users), np.asarray(positions)
    later = (users > 0) & (positions >= split.train_lengths[users])
    if later.any():
        raise DataError(
            "Chains tell whether an item was chosen, so they may be of training rows "
            f"alone. Received: position {positions[later][0]} of a user with "
            f"{split.train_lengths[users[later][0]]} training events"
        )
    names = writer.shown(split.store.item_texts)
    shown = history_before(split.store.events, users, positions, length=length)
    prompts: Prompts = []
    for item, label, row in zip(items, labels, shown, strict=True):
        history = [names[each] for each in row if names[each]]
        known = {"history": history, "item": names[item], "label": bool(label)}
        prompts.append(known if history and names[item] else None)
    return prompts


def judge_prompts(prompts: Prompts, chains: Sequence[tuple[int, str]]) -> Prompts:
    """What a judge is shown: a row's prompt, by its place, with a chain."""
    return [{**(prompts[row] or {}), "chain": chain} for row, chain in chains]
