"""The endpoint goes wrong in every way, and the job is killed twice in the midst."""

import hashlib
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.job import AskingBlocks, score_candidates
from keras_sllmr.scoring.llm.request import Answer, Request
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.clean import clean
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut

USERS, ITEMS, CONCURRENCY = 80, 120, 8
CANDIDATES = CandidateSettings(near=0, tail_near=0, popular_pool=30, history=5)
# How a sending with a fault ends in the ledger; the other faults come as answers.
OUTCOMES = {
    "429": "http 429",
    "429 retry-after": "http 429",
    "500": "http 500",
    "reset": "connection",
    "hang": "timeout",
    "cut body": "unreadable",
}
# What a job does until all is asked; without the table it needs no TensorFlow, whose
# import would take most of the time.
_JOB = """
import sys
import numpy as np
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.teachers.llm import LLMTeacher
asked, ledger, settings = sys.argv[1:]
with np.load(asked) as held:
    texts, *arrays = [held[name] for name in sorted(held)]
settings = LLMSettings.model_validate_json(settings)
teacher = LLMTeacher.open(texts, ledger, settings)
sys.stdin.readline()
teacher.ask(zip(arrays[::2], arrays[1::2]))
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> LeaveOneOut:
    rng = np.random.default_rng(3)
    events = [
        (f"u{user:02d}", f"i{item:03d}", position)
        for user in range(USERS)
        for position, item in enumerate(
            rng.choice(ITEMS, rng.integers(3, 10), replace=False)
        )
    ]
    items = pd.DataFrame({"item": [f"i{n:03d}" for n in range(ITEMS)]})
    items["text"] = [f"thing {n} of {rng.integers(10**6)}" for n in range(ITEMS)]
    items.loc[::20, "text"] = ""
    raw = clean(
        pd.DataFrame(events, columns=["user", "item", "order"]),
        items,
        min_events=3,
        keep_unseen_items=True,
        source={"kind": "test"},
    )
    path = tmp_path_factory.mktemp("drill") / "store"
    return LeaveOneOut(FeatureStore.create(path, raw))


def _settings(base_url: str, **transport: Any) -> LLMSettings:
    patient = {"concurrency": CONCURRENCY, "timeout": 1.0, "backoff": 0.02}
    return LLMSettings(
        model="local",
        base_url=base_url,
        endpoint="drill",
        per_request=6,
        reasks=8,
        transport=patient | {"breaker_seconds": 0.1} | transport,
    )


def _shards(table: Path) -> dict[str, bytes]:
    folder = table / "views" / "llm_score"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _blocks(split: LeaveOneOut) -> AskingBlocks:
    sampler = CandidateSampler(split, CANDIDATES)
    return AskingBlocks(sampler, np.arange(1, USERS + 1))


def _questions(split: LeaveOneOut, teacher: LLMTeacher) -> Iterator[Any]:
    for histories, candidates in _blocks(split):
        for history, wanted in zip(histories, candidates, strict=True):
            yield from (question for question, _ in teacher.questions(history, wanted))


def _replayed(split: LeaveOneOut, teacher: LLMTeacher) -> Iterator[Request]:
    """Every request that was needed, as the ledger's answers say."""
    for question in _questions(split, teacher):
        answers: list[Answer] = []
        while (request := question.next(answers)) is not None:
            yield request
            answer = teacher.ledger.get(request.key)
            if answer is None:
                break
            answers.append(answer)


def _logged_as(request: Request) -> str:
    body = json.dumps(request.body, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def undisturbed(
    split: LeaveOneOut,
    tmp_path_factory: pytest.TempPathFactory,
    running: Callable[..., tuple[str, Path]],
) -> tuple[dict[str, bytes], int]:
    """The shards of a job that nothing went wrong in, and its number of requests."""
    folder = tmp_path_factory.mktemp("undisturbed")
    base_url, log = running()
    teacher = LLMTeacher.open(
        split.store.item_texts, folder / "ledger.sqlite", _settings(base_url)
    )
    score_candidates(
        split, teacher, folder / "table", settings=CANDIDATES, calibration="none"
    )
    return _shards(folder / "table"), len(_lines(log))


def _lines(log: Path) -> list[dict[str, Any]]:
    # What is written at this very moment has no end yet.
    whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def _until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.002)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., tuple[str, Path]]]:
    """Starts endpoints as processes; gives their address and log."""
    script = Path(__file__).parents[2] / "benchmarks" / "local_endpoint.py"
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[str, Path]:
        folder = tmp_path_factory.mktemp("endpoint")
        port, log = folder / "port", folder / "log"
        command = [sys.executable, str(script), "--port-file", str(port)]
        process = subprocess.Popen([*command, "--log", str(log), *options], text=True)
        started.append(process)
        _until(port.exists, process)
        return f"http://127.0.0.1:{port.read_text()}/v1", log

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def jobs(
    split: LeaveOneOut, tmp_path: Path
) -> Iterator[Callable[[LLMSettings, int], list[subprocess.Popen[str]]]]:
    """Prepares jobs on one ledger; each begins when it gets a line."""
    prepared: list[subprocess.Popen[str]] = []

    def prepare(settings: LLMSettings, many: int) -> list[subprocess.Popen[str]]:
        arrays = [split.store.item_texts.astype(str), *itertools.chain(*_blocks(split))]
        asked, ledger = tmp_path / "asked.npz", tmp_path / "ledger.sqlite"
        np.savez(asked, **{f"{n:03d}": array for n, array in enumerate(arrays)})
        arguments = [str(asked), str(ledger), settings.model_dump_json()]
        for _ in range(many):
            command = [sys.executable, "-c", _JOB, *arguments]
            prepared.append(subprocess.Popen(command, stdin=subprocess.PIPE, text=True))
        return prepared

    yield prepare
    for process in prepared:
        process.kill()
        process.communicate()


def _begin(job: subprocess.Popen[str]) -> None:
    assert job.stdin is not None
    job.stdin.write("\n")
    job.stdin.flush()


def test_every_fault_and_two_kills(
    split: LeaveOneOut,
    undisturbed: tuple[dict[str, bytes], int],
    running: Callable[..., tuple[str, Path]],
    jobs: Callable[..., list[subprocess.Popen[str]]],
    tmp_path: Path,
    local_endpoint: Any,
) -> None:
    shards, needed = undisturbed
    base_url, log = running("--faults", "0.4", "--latency", "0.02")
    settings = _settings(base_url)
    at_kill = []
    for number, job in enumerate(jobs(settings, 2), 1):
        _begin(job)
        share = number * needed // 3
        _until(lambda least=share: len(_lines(log)) >= least, job)  # type: ignore[misc]
        job.kill()
        assert job.wait() == -9
        at_kill.append(len(_lines(log)))
    teacher = LLMTeacher.open(
        split.store.item_texts, tmp_path / "ledger.sqlite", settings
    )
    table = score_candidates(
        split, teacher, tmp_path / "table", settings=CANDIDATES, calibration="none"
    )

    ledger, manifest = teacher.ledger, table.manifest
    lines = _lines(log)
    rows = ledger.database.execute(
        "SELECT key, outcome, prompt + completion, usd FROM sent ORDER BY id"
    ).fetchall()
    totals = ledger.totals()

    # The table is that of an undisturbed run.
    assert _shards(tmp_path / "table") == shards
    assert manifest["cost"]["failed"] == {} and manifest["cost"]["stopped_by"] is None
    assert set(manifest["cost"]["problems"]) >= {"empty", "foreign", "out of range"}

    # Every fault came.
    faults = Counter(line["fault"] for line in lines)
    assert set(faults) == {"", *local_endpoint.FAULTS}

    # None is asked twice after success: neither says the ledger, ...
    requests = {request.key: request for request in _replayed(split, teacher)}
    answered: set[str] = set()
    for key, outcome, *_ in rows:
        assert key not in answered
        if outcome == "answered":
            answered.add(key)
    assert answered == set(requests) == {key for key, *_ in rows}
    # ... nor the endpoint, but for what a kill cut off.
    lost = Counter(_logged_as(requests[row[0]]) for row in rows if row[1] == "lost")
    again = Counter[str]()
    for logged, same in itertools.groupby(
        sorted(lines, key=lambda line: line["request"]), lambda line: line["request"]
    ):
        kinds = [line["fault"] for line in same]
        if "" in kinds:
            again[logged] = len(kinds) - 1 - kinds.index("")
    assert again <= lost
    assert lost.total() <= 2 * CONCURRENCY

    # Totals add up, those lost in a kill aside: they arrived, or did not.
    arrived = Counter(OUTCOMES.get(line["fault"], "answered") for line in lines)
    settled = Counter(totals.outcomes)
    settled.pop("lost")
    assert settled <= arrived
    assert (arrived - settled).total() <= lost.total()
    assert totals.requests == len(rows) == settled.total() + lost.total()
    assert 0 <= totals.requests - len(lines) <= lost.total()
    free = {"http 429", "http 500"}
    assert all((cost == 0) == (outcome in free) for _, outcome, cost, _ in rows)
    assert totals.prompt_tokens + totals.completion_tokens == sum(
        row[2] for row in rows
    )

    # Asked once more, nothing is sent.
    report = teacher.ask(_blocks(split))
    assert report["requests_sent"] == 0 and report["failed"] == {}
    assert len(_lines(log)) == len(lines)

    print(f"\nundisturbed: {needed} requests")
    print(f"drill: {len(lines)} requests reached the endpoint, killed at {at_kill}")
    print(f"  faults: {dict(sorted(faults.items()))}")
    print(f"  ledger: {totals.requests} sent, {dict(sorted(totals.outcomes.items()))}")
    print(f"  sent again after an answer that a kill cut off: {again.total()}")
    print(f"  problems in answers: {manifest['cost']['problems']}")
    print(f"  table: {manifest['counts']}, shards byte-equal to the undisturbed run's")
    teacher.ledger.close()


def test_what_never_recovers_is_counted_by_reason(
    split: LeaveOneOut,
    undisturbed: tuple[dict[str, bytes], int],
    endpoint: Callable[..., Any],
    tmp_path: Path,
    local_endpoint: Any,
) -> None:
    shards, _ = undisturbed
    served = endpoint()
    lasting: dict[str, str] = {}

    def fault(body: bytes) -> str:
        digest = hashlib.sha256(body).digest()
        if digest[0] > 40:
            return ""
        kind = local_endpoint.FAULTS[digest[1] % len(local_endpoint.FAULTS)]
        lasting[digest.hex()[:16]] = kind
        return kind

    served.endpoint.fault = fault
    settings = _settings(served.base_url, tries=2, timeout=1.5).model_copy(
        update={"reasks": 1}
    )
    teacher = LLMTeacher.open(
        split.store.item_texts, tmp_path / "ledger.sqlite", settings
    )
    table = score_candidates(
        split, teacher, tmp_path / "table", settings=CANDIDATES, calibration="none"
    )
    tally, cost = teacher.tally.report(), table.manifest["cost"]
    assert set(lasting.values()) == set(local_endpoint.FAULTS)

    # Every question came to its end, every request to an answer or a reason.
    requests = list(_replayed(split, teacher))
    assert tally["questions"] == len(list(_questions(split, teacher)))
    assert tally["answered"] + sum(tally["failed"].values()) == len(requests)
    expected = Counter(
        OUTCOMES[lasting[_logged_as(request)]]
        for request in requests
        if lasting.get(_logged_as(request)) in OUTCOMES
    )
    assert tally["failed"] == cost["failed"] == dict(sorted(expected.items()))
    assert set(expected) == set(OUTCOMES.values())
    assert tally["requests_sent"] == len(served.bodies) == cost["ledger"]["requests"]
    assert tally["requests_sent"] == tally["answered"] + 2 * expected.total()

    # The table lacks what was not answered, and has the rest.
    counts = table.manifest["counts"]
    assert counts["llm_score"] + counts["missing"] == cost["pairs"]
    texts = split.store.item_texts[table.items]
    scores = [local_endpoint.score_of(text) for text in texts]
    np.testing.assert_allclose(table.scores, scores, atol=1e-6)
    assert _shards(tmp_path / "table") != shards

    # When the endpoint has recovered, only what failed is asked again.
    del served.endpoint.fault
    again = score_candidates(
        split, teacher, tmp_path / "table", settings=CANDIDATES, calibration="none"
    )
    report = teacher.tally.report()
    assert report["failed"] == again.manifest["cost"]["failed"] == {}
    assert report["requests_sent"] >= expected.total()
    assert report["from_ledger"] == tally["answered"]
    print(f"\nnever recovering: {tally}")
    print(f"  table: {counts}; once it has recovered: {again.manifest['counts']}")
    teacher.ledger.close()
