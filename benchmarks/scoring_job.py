"""One scoring job in a process of its own, for `scoring_throughput.py`.

    python benchmarks/scoring_job.py WORK PORT REQUESTS

prints its peak memory. Every request is about one candidate, so that a store of few
users makes many requests; the cap `max_requests` makes them few.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.job import score_candidates
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.clean import clean
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut

ITEMS, EVENTS, CANDIDATES = 10_000, 5, 10
SINGLE = CandidateSettings(
    popular=0,
    near=0,
    tail=0,
    tail_near=0,
    cold=0,
    uniform=CANDIDATES,
    probe_negatives=0,
    history=3,
)


def synthetic_split(path: Path, *, users: int) -> LeaveOneOut:
    """A store of random events and texts, made once."""
    if not (path / "manifest.json").exists():
        rng = np.random.default_rng(0)
        events = pd.DataFrame(
            {
                "user": np.repeat(np.arange(users).astype(str), EVENTS),
                # Different items of a user: a random start and odd steps.
                "item": (
                    (
                        rng.integers(ITEMS, size=(users, 1))
                        + np.arange(EVENTS)
                        * (1 + 2 * rng.integers(999, size=(users, 1)))
                    )
                    % ITEMS
                )
                .ravel()
                .astype(str),
                "order": np.tile(np.arange(EVENTS), users),
            }
        )
        words = np.array([f"word{number}" for number in range(2000)])
        items = pd.DataFrame(
            {
                "item": np.arange(ITEMS).astype(str),
                "text": [" ".join(rng.choice(words, 8)) for _ in range(ITEMS)],
            }
        )
        raw = clean(events, items, min_events=5, keep_unseen_items=True, source={})
        FeatureStore.create(path, raw)
    return LeaveOneOut(FeatureStore(path))


def main() -> None:
    work, port, requests = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    split = synthetic_split(work / "store", users=0)
    settings = LLMSettings(
        model="local",
        endpoint="local",
        base_url=f"http://127.0.0.1:{port}/v1",
        template="yes_no",
        caps={"max_requests": requests},
        transport={"concurrency": 64},
    )
    teacher = LLMTeacher.open(
        split.store.item_texts, work / f"job-{requests}.sqlite", settings
    )
    opened = peak_mb()
    score_candidates(
        split, teacher, work / f"scores-{requests}", settings=SINGLE, calibration="none"
    )
    figures = {"peak_mb": peak_mb(), "opened_mb": opened, **teacher.tally.report()}
    print(json.dumps(figures))


def peak_mb() -> float:
    """The most memory that this process has had."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main()
