import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import StoreError
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Usage

USAGE = Usage(prompt=7, completion=3, cached=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "ledger.sqlite"


def _keep(ledger: Ledger, key: str, answer: Answer, *, usd: float = 0.0) -> None:
    sent = ledger.begin(key, prompt=100, completion=50, usd=1.0)
    ledger.answer(sent, key, answer, usd=usd)


@given(
    st.builds(
        Answer,
        content=st.text(),
        finish=st.text(max_size=20),
        top_logprobs=st.lists(
            st.tuples(st.text(), st.floats(allow_nan=False)), max_size=5
        ).map(tuple),
        usage=st.builds(
            Usage, prompt=st.integers(0, 2**40), completion=st.integers(0, 9)
        ),
    )
)
def test_texts_and_log_probabilities_come_back(answer: Answer) -> None:
    ledger = Ledger(":memory:")
    _keep(ledger, "key", answer, usd=0.25)
    assert ledger.get("key") == answer
    assert ledger.usd("key") == 0.25
    ledger.close()


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (0, 4), (0, 0)])
def test_vectors_come_back(shape: tuple[int, int]) -> None:
    ledger = Ledger(":memory:")
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    _keep(ledger, "key", Answer(vectors=vectors, usage=USAGE))
    kept = ledger.get("key")
    assert kept is not None and kept.vectors is not None and kept.usage == USAGE
    assert kept.vectors.dtype == np.float32 and len(kept.vectors) == shape[0]
    np.testing.assert_array_equal(kept.vectors.ravel(), vectors.ravel())


def test_what_was_never_answered() -> None:
    ledger = Ledger(":memory:")
    assert ledger.get("key") is None and ledger.failure("key") is None
    ledger.give_up("key", "http 500")
    assert ledger.get("key") is None
    assert ledger.failure("key") == Answer(reason="http 500")
    _keep(ledger, "key", Answer(content="late", usage=USAGE))
    assert ledger.failure("key") is None


def test_the_first_answer_stays() -> None:
    ledger = Ledger(":memory:")
    _keep(ledger, "key", Answer(content="first"))
    _keep(ledger, "key", Answer(content="second"))
    kept = ledger.get("key")
    assert kept is not None and kept.content == "first"


def test_totals_over_reopenings(path: Path) -> None:
    ledger = Ledger(path)
    _keep(ledger, "a", Answer(usage=USAGE), usd=0.5)
    # An endpoint that counts no tokens is charged what was reserved.
    _keep(ledger, "b", Answer(content="free?"))
    ledger.close()
    ledger = Ledger(path)
    for outcome, billed in (("timeout", True), ("http 429", False)):
        sent = ledger.begin("c", prompt=100, completion=50, usd=1.0)
        ledger.unanswered(sent, outcome, billed=billed)
    ledger.begin("d", prompt=100, completion=50, usd=1.0)
    totals = ledger.totals()
    assert totals.requests == 5
    assert totals.prompt_tokens == 7 + 100 + 100 + 100
    assert totals.completion_tokens == 3 + 50 + 50 + 50
    assert totals.usd == 0.5 + 1 + 1 + 1
    assert totals.outcomes == {
        "answered": 2,
        "timeout": 1,
        "http 429": 1,
        "under way": 1,
    }


_KILLED = """
import os, signal, sys
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Usage
ledger = Ledger(sys.argv[1])
with ledger.writing():
    for key in ("answered", "under way"):
        sent = ledger.begin(key, prompt=100, completion=50, usd=1.0)
        if key == "answered":
            ledger.answer(sent, key, Answer(content=key, usage=Usage(7, 3)), usd=0.5)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_job_loses_no_answer_and_its_open_requests_stay_charged(
    path: Path,
) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -9
    ledger = Ledger(path)
    kept = ledger.get("answered")
    assert kept is not None and kept.content == "answered"
    assert ledger.get("under way") is None
    assert ledger.totals().outcomes == {"answered": 1, "under way": 1}
    with ledger.writing():
        pass
    totals = ledger.totals()
    assert totals.outcomes == {"answered": 1, "lost": 1}
    assert (totals.prompt_tokens, totals.completion_tokens) == (107, 53)
    assert totals.usd == 1.5


_WRITER = """
import sys, time
from keras_sllmr.scoring.llm.ledger import Ledger
with Ledger(sys.argv[1]).writing():
    print("writing", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time(path: Path) -> None:
    ledger = Ledger(path)
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "writing\n"
        with (
            pytest.raises(StoreError, match="Another process is writing"),
            ledger.writing(),
        ):
            pass
        assert ledger.get("key") is None
        other.kill()
    with ledger.writing():
        pass


def test_what_is_no_ledger(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("These are notes, and long enough to be read as a header. " * 9)
    with pytest.raises(StoreError, match="cannot be used as a ledger"):
        Ledger(text)
    assert text.read_text().startswith("These are notes")
    with pytest.raises(StoreError, match="cannot be used as a ledger"):
        Ledger(tmp_path)


@pytest.mark.parametrize("version", [0, 99])
def test_another_database_or_version_is_left_alone(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.execute(f"PRAGMA user_version = {version}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"version {version}, needed: 1"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_full_disk_is_told(path: Path) -> None:
    ledger = Ledger(path)
    _keep(ledger, "a", Answer(content="kept"))
    pages = ledger.database.execute("PRAGMA page_count").fetchone()[0]
    with (
        pytest.raises(StoreError, match="Could not write the ledger"),
        ledger.writing(),
    ):
        ledger.database.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(99):
            _keep(ledger, f"b {number}", Answer(content="x" * 5000))
    assert ledger.get("a") == Answer(content="kept")


def test_nothing_of_a_failed_transaction_is_kept() -> None:
    ledger = Ledger(":memory:")
    with pytest.raises(KeyboardInterrupt), ledger.transaction():
        _keep(ledger, "a", Answer(content="half"))
        raise KeyboardInterrupt
    assert ledger.get("a") is None and ledger.totals().requests == 0


def test_several_processes_may_make_it_at_once(tmp_path):
    code = textwrap.dedent(
        """
        import sys, time
        from keras_sllmr.scoring.llm.ledger import Ledger
        print("ready", flush=True)
        sys.stdin.readline()
        for k in range(40):
            Ledger(f"{sys.argv[1]}/{k}.sqlite").close()
        """
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        job.stdin.write("\n")
        job.stdin.flush()
    for job in jobs:
        _, errors = job.communicate(timeout=60)
        assert job.returncode == 0, errors
