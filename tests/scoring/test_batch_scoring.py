import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.scoring.batch_scoring import BatchScoring
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.embedded import embedded_teacher
from keras_sllmr.scoring.job import score_candidates
from keras_sllmr.scoring.llm.batch_files import read_lines
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors

CANDIDATES = CandidateSettings(
    near=2, near_pool=12, uniform=3, cold=2, cold_pool=8, popular=2, popular_pool=9
)
LLM = LLMSettings(model="gpt-4o-mini", reasks=2)


@pytest.fixture(scope="module")
def text(
    shop: LeaveOneOut, vectors: TextVectors, tmp_path_factory: pytest.TempPathFactory
) -> TextVectors:
    """The random vectors as a table on disk."""
    path = tmp_path_factory.mktemp("text") / "text"
    return TextVectors.create(path, shop.store, vectors.vectors, encoder="random")


def records(path: Path) -> list[bytes]:
    files = sorted(map(str, (path / "views" / "llm_score").iterdir()))
    return [
        record
        for file in files
        for record in tf.data.TFRecordDataset(file).as_numpy_iterator()
    ]


def without_score(record: bytes) -> tuple[float, bytes]:
    """The score, and all else of the record."""
    example = tf.train.Example.FromString(record)
    (score,) = example.features.feature.pop("score").float_list.value
    return score, example.SerializeToString(deterministic=True)


def manifest(path: Path) -> dict[str, Any]:
    """What it says but for hashes and times."""
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    for name in ("created", "fingerprint", "files"):
        del found[name]
    for name in ("seconds", "ledger", "stopped_by"):
        found.get("cost", {}).pop(name, None)
    return found


@pytest.mark.parametrize("users_per_part", [14, 1000])
@pytest.mark.parametrize(
    "changes", [{}, {"tail_near": 0.0, "probe_users": 5}, {"tail": 0.0, "near": 0}]
)
def test_local_scores_are_those_of_the_whole(
    shop: LeaveOneOut,
    text: TextVectors,
    tmp_path: Path,
    users_per_part: int,
    changes: dict[str, Any],
) -> None:
    settings = CANDIDATES.model_copy(update=changes)
    teacher = embedded_teacher(shop, text, seed=3)
    score_candidates(
        shop,
        teacher,
        tmp_path / "whole",
        settings=settings,
        vectors=text.vectors,
    )
    BatchScoring(
        shop.store.path,
        text.path,
        settings,
        seed=3,
        users_per_part=users_per_part,
    ).write_scores(tmp_path / "parts")
    found, expected = (
        [without_score(record) for record in records(tmp_path / part)]
        for part in ("parts", "whole")
    )
    assert [rest for _, rest in found] == [rest for _, rest in expected]
    # Products of matrices of other shapes round differently on some processors.
    scores = [[score for score, _ in each] for each in (found, expected)]
    np.testing.assert_allclose(*scores, rtol=1e-6)
    assert manifest(tmp_path / "parts") == manifest(tmp_path / "whole")
    assert len(ScoreTable(tmp_path / "parts", shop.store))


def answered(lines: Iterator[bytes], *, short: bool, down: int = 0) -> list[bytes]:
    """What an endpoint says: every item a score by its text; `short` leaves some out.

    Every `down`-th request fails, for good or in passing by turns.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        request = json.loads(line)
        entry: dict[str, Any] = {"custom_id": request["custom_id"]}
        if down and number % down == 0:
            status = 400 if number % (2 * down) else 500
            entry["response"] = {"status_code": status, "body": {}}
        else:
            asked = request["body"]["messages"][-1]["content"].splitlines()
            texts = [row.split(": ", 1) for row in asked if row[:1].isdigit()]
            scores = [
                {"id": int(place), "score": len(set(text)) % 11 / 10}
                for place, text in texts
                if not (short and len(text) % 3 == 0)
            ]
            message = {"content": json.dumps({"scores": scores})}
            entry["response"] = {
                "status_code": 200,
                "body": {
                    "choices": [{"message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 50, "completion_tokens": 9},
                },
            }
        found.append(json.dumps(entry).encode() + b"\n")
    return found


def lines(folder: Path) -> list[bytes]:
    files = sorted((folder / "requests").iterdir())
    return [line for file in files for line in file.read_bytes().splitlines()]


def test_rounds_of_requests_and_the_table_of_their_answers(
    shop: LeaveOneOut, text: TextVectors, tmp_path: Path
) -> None:
    scoring = BatchScoring(
        shop.store.path, text.path, CANDIDATES, LLM, users_per_part=14
    )
    answers: list[Path] = []
    counts = []
    for number in range(4):
        folder = tmp_path / f"requests-{number}"
        counts.append(scoring.write_requests(folder, answers=answers))
        asked = lines(folder)
        assert len(asked) == counts[-1]["requests"]
        # The answers come in any order, in files cut anywhere.
        said = answered(iter(asked[::-1]), short=number == 0, down=number == 0 and 9)
        for part in range(2):
            answers.append(tmp_path / f"answers-{number}-{part}.jsonl")
            answers[-1].write_bytes(b"".join(said[part::2]))
    assert counts[0]["requests"] == counts[0]["questions"] > counts[1]["requests"] > 0
    assert counts[1]["given_up"] > 0
    # What was refused is given up; all else has its answer.
    assert counts[2]["requests"] == counts[3]["requests"] == 0
    scoring.write_scores(tmp_path / "parts", answers=answers, calibration="minmax")

    ledger = Ledger(tmp_path / "ledger.sqlite")
    for path in answers:
        for name, outcome in read_lines(path):
            key = name.split("-")[1]
            if isinstance(outcome, Answer):
                sent = ledger.begin(key, prompt=0, completion=0, usd=0)
                ledger.answer(sent, key, outcome, usd=0)
            elif not outcome.retry:
                ledger.give_up(key, outcome.reason)
    teacher = LLMTeacher(shop.store.item_texts, ledger, LLM)
    score_candidates(
        shop,
        teacher,
        tmp_path / "whole",
        settings=CANDIDATES,
        screen=embedded_teacher(shop, text),
        vectors=text.vectors,
        calibration="minmax",
    )
    assert records(tmp_path / "parts") == records(tmp_path / "whole")
    found, expected = manifest(tmp_path / "parts"), manifest(tmp_path / "whole")
    usd = found["cost"].pop("usd")
    assert expected["cost"].pop("usd") == 0
    requests = found["cost"]["requests"]
    # 0.075 and 0.3 USD a million tokens by the Batch API.
    assert usd == pytest.approx(requests * (50 * 0.075 + 9 * 0.3) / 1e6, rel=1e-3)
    assert found == expected and found["cost"]["failed"]


def test_files_within_the_limits(shop: LeaveOneOut, tmp_path: Path) -> None:
    few = LLM.model_copy(
        update={"batch": LLM.batch.model_copy(update={"max_requests_per_file": 3})}
    )
    plain = CandidateSettings(near=0, tail_near=0, tail=0, probe_negatives=0)
    counts = BatchScoring(shop.store.path, None, plain, few).write_requests(
        tmp_path / "requests"
    )
    files = sorted((tmp_path / "requests" / "requests").iterdir())
    sizes = [len(file.read_bytes().splitlines()) for file in files]
    assert sum(sizes) == counts["requests"] and set(sizes[:-1]) == {3}
    request = json.loads(lines(tmp_path / "requests")[0])
    assert request["url"] == "/v1/chat/completions" and request["method"] == "POST"
    assert request["custom_id"].startswith("00000-")
    assert len({json.loads(line)["custom_id"] for line in lines(tmp_path / "requests")})


def test_foreign_answers_are_left_alone(shop: LeaveOneOut, tmp_path: Path) -> None:
    plain = CandidateSettings(near=0, tail_near=0)
    scoring = BatchScoring(shop.store.path, None, plain, LLM)
    before = scoring.write_requests(tmp_path / "one")
    foreign = tmp_path / "answers.jsonl"
    foreign.write_text('{"custom_id": "77777-ab"}\n{"custom_id": "x"}\nnot json\n')
    assert scoring.write_requests(tmp_path / "two", answers=[foreign]) == before


def test_wrong_arguments(shop: LeaveOneOut, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="users_per_part"):
        BatchScoring(shop.store.path, users_per_part=0)
    scoring = BatchScoring(shop.store.path)
    with pytest.raises(ConfigError, match="for a language model"):
        scoring.write_requests(tmp_path / "requests")
    with pytest.raises(DataError, match="none.jsonl"):
        scoring.write_scores(tmp_path / "scores", answers=[tmp_path / "none.jsonl"])
    with pytest.raises(StoreError, match="No store"):
        BatchScoring(tmp_path / "none").write_scores(tmp_path / "scores")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "mine").touch()
    with pytest.raises(StoreError, match="is not replaced"):
        scoring.write_scores(tmp_path / "scores")
    assert not np.any([path.name.startswith(".") for path in tmp_path.iterdir()])
