"""What an answer says of the candidates: read as it stands, nothing guessed.

Candidates are numbered 1 to n in a request. Whatever an endpoint sends, the functions
here return scores in [0, 1] or NaN, and count what was wrong by kind:

- an answer's failure under its reason, e.g. `"http 500"`;
- `"refused"`, `"empty"`: a content filter's doing; nothing written;
- `"malformed"`: no JSON object of the format asked for, or an entry that is no object;
- `"truncated"`: the same of an answer that was cut off at the limit of tokens;
- `"foreign"`: an id that was not shown;
- `"duplicate"`: an id given again; unless it says the same, all it says is dropped;
- `"out of range"`: no number within the bounds, dropped;
- `"partial"`: an answer that leaves candidates without a score, whatever the reason;
- `"no yes or no"`, `"no log-probabilities"`: for answers by log-probability.
"""

import json
import math
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.answer_format import AnswerFormat
from keras_sllmr.scoring.llm.request import Answer

NO_LOGPROBS = "no log-probabilities"

Parsed = tuple[np.ndarray, Counter[str]]

# Around a word in a token: punctuation, space, and the marks of a space or a new line
# in the vocabularies of SentencePiece and byte-level BPE.
_AROUND = string.punctuation + string.whitespace + "▁ĠĊ"


def parse_scores(answer: Answer, n: int, form: AnswerFormat) -> Parsed:
    r"""Scores from a list of (id, score) objects (paper section 4.3).

    \(s = (x - low) / (high - low)\) for a score x in [low, high]; any other is dropped,
    never clamped.

    Args:
        answer: of the endpoint.
        n: int. Number of candidates shown.
        form: bounds and names.

    Returns:
        float32 `[n]` in [0, 1], NaN where there is none, and the problems.

    Example:
        >>> answer = Answer(content='{"answers": [{"id": 2, "score": 0.5}]}')
        >>> parse_scores(answer, 2, AnswerFormat(kind="scores"))
        (array([nan, 0.5], dtype=float32), Counter({'partial': 1}))
    """
    values = np.full(n, np.nan, np.float32)
    entries, problems = _entries(answer, form.entries)
    if entries is None:
        return values, problems
    said: dict[int, float | None] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            problems["malformed"] += 1
            continue
        number = _number(entry.get(form.id), n)
        if number is None:
            problems["foreign"] += 1
            continue
        score = within(entry.get(form.score), form.low, form.high)
        if score is None:
            problems["out of range"] += 1
        if number in said:
            problems["duplicate"] += 1
            score = score if score == said[number] else None
        said[number] = score
    for number, score in said.items():
        if score is not None:
            values[number - 1] = (score - form.low) / (form.high - form.low)
    return values, _partial(values, problems)


def parse_ranking(
    answer: Answer, n: int, form: AnswerFormat, *, temperature: float = 1.0
) -> Parsed:
    r"""Soft scores from an order of ids (paper section 3.1).

    \(s_r = \sigma(((m + 1)/2 - r) / \tau)\) for rank r of the m candidates that were
    ranked, the best r = 1. An id that is given twice has no rank.

    Args:
        answer: of the endpoint.
        n: int. Number of candidates shown.
        form: names.
        temperature: float, ranks. τ: the larger, the closer the scores are to 0.5.

    Returns:
        float32 `[n]` in [0, 1], NaN for candidates without a rank, and the problems.

    Raises:
        ConfigError: when τ is not positive.

    Example:
        >>> answer = Answer(content='{"answers": [3, 1, 2]}')
        >>> parse_ranking(answer, 3, AnswerFormat(kind="ranking"))[0].round(2)
        array([0.5 , 0.27, 0.73], dtype=float32)
    """
    check_temperature(temperature)
    values = np.full(n, np.nan, np.float32)
    entries, problems = _entries(answer, form.entries)
    if entries is None:
        return values, problems
    numbers = [_number(entry, n) for entry in entries]
    times = Counter(number for number in numbers if number is not None)
    problems["foreign"] += len(numbers) - times.total()
    problems["duplicate"] += times.total() - len(times)
    ranked = [number for number in numbers if number and times[number] == 1]
    rank = np.arange(1, len(ranked) + 1)
    places = np.array(ranked, np.int64) - 1
    values[places] = _sigmoid(((len(ranked) + 1) / 2 - rank) / temperature)
    return values, _partial(values, +problems)


def parse_yes_no(answer: Answer, *, temperature: float = 1.0) -> Parsed:
    r"""Score of one candidate by the first token's log-probabilities.

    \(s = \sigma((\ell_{yes} - \ell_{no})/T)\), the paper's normalised logits (section
    3.1). Each \(\ell\) sums the probabilities of the word's spellings, such as "Yes",
    " yes" and "YES.". If only one of the words is among the alternatives, the other is
    less likely than all of them: the least alternative's log-probability, its upper
    bound, stands in for it.

    Args:
        answer: of the endpoint.
        temperature: float. T: the larger, the closer the score is to 0.5.

    Returns:
        float32 `[1]` in [0, 1] or NaN, and the problems.

    Raises:
        ConfigError: when T is not positive.

    Example:
        >>> answer = Answer(top_logprobs=(("Yes", -0.5), ("No", -1.5)))
        >>> parse_yes_no(answer)[0].round(2)
        array([0.73], dtype=float32)
    """
    check_temperature(temperature)
    values = np.full(1, np.nan, np.float32)
    if problem := failure_of(answer):
        return values, Counter({problem: 1})
    alternatives = [
        (token.strip(_AROUND).casefold(), logprob)
        for token, logprob in answer.top_logprobs
        if math.isfinite(logprob)
    ]
    if not alternatives:
        return values, Counter({NO_LOGPROBS: 1})
    least = min(logprob for _, logprob in alternatives)
    yes = [logprob for word, logprob in alternatives if word == "yes"]
    no = [logprob for word, logprob in alternatives if word == "no"]
    if not (yes or no):
        return values, Counter({"no yes or no": 1})
    margin = np.logaddexp.reduce(yes or [least]) - np.logaddexp.reduce(no or [least])
    values[0] = _sigmoid(margin / temperature)
    return values, Counter()


def check_temperature(temperature: float) -> None:
    """Raises a `ConfigError` unless it is positive and finite."""
    if not 0 < temperature < math.inf:
        raise ConfigError(
            "`temperature` must be positive and finite. "
            f"Received: temperature={temperature}"
        )


def failure_of(answer: Answer) -> str:
    """Why there is nothing to read, if so."""
    if answer.reason:
        return answer.reason
    return "refused" if answer.finish == "content_filter" else ""


def _entries(answer: Answer, name: str) -> tuple[list[Any] | None, Counter[str]]:
    """The object's list, or none and the problem."""
    problem = failure_of(answer)
    if not problem:
        cut_off = answer.finish == "length"
        root = json_object(answer.said)
        if root is not None and isinstance(root.get(name), list):
            return root[name], Counter()
        bad = "malformed" if answer.said.strip() else "empty"
        problem = "truncated" if cut_off else bad
    return None, Counter({problem: 1})


def json_object(content: str) -> dict[str, Any] | None:
    """The one JSON object in a text, whatever stands around it."""
    start, end = content.find("{"), content.rfind("}") + 1
    try:
        # Two objects, or braces in the words around one, are no JSON.
        root = json.loads(content[start:end], object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError):
        return None
    return root if isinstance(root, dict) else None


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name is given twice in one object")
    return result


def _number(value: Any, n: int) -> int | None:
    """A candidate's number, given as 3 or "3"; true and 3.0 are none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    return value if type(value) is int and 1 <= value <= n else None


def within(value: Any, low: float, high: float) -> float | None:
    """A number within the bounds; true and NaN are none."""
    return value if type(value) in (int, float) and low <= value <= high else None


def _partial(values: np.ndarray, problems: Counter[str]) -> Counter[str]:
    if np.isnan(values).any():
        problems["partial"] += 1
    return problems


def _sigmoid(x: Any) -> Any:
    # As a tanh it can't overflow.
    return 0.5 + 0.5 * np.tanh(np.asarray(x, np.float64) / 2)
