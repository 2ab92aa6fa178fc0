import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.descriptions import user_texts
from keras_sllmr.scoring.estimate_texts import (
    estimate_chains,
    estimate_knowledge,
    estimate_writing,
)
from keras_sllmr.scoring.llm.settings import WriterSettings
from keras_sllmr.scoring.llm.writer import TextWriter
from keras_sllmr.scoring.written_texts import written_chains, written_knowledge
from keras_sllmr.store.split import LeaveOneOut

NAMES = ("coherence", "completeness", "relevance", "consistency")
Make = Callable[..., TextWriter]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    opened: list[TextWriter] = []

    def start(base_url: str, template: str, **settings: Any) -> TextWriter:
        writer = TextWriter.open(
            WriterSettings(model="local", base_url=base_url, **settings),
            template,
            tmp_path / "ledger.sqlite",
        )
        opened.append(writer)
        return writer

    yield start
    for each in opened:
        assert each.engine is not None
        each.engine.ledger.close()


def _prompt(body: bytes) -> str:
    return json.loads(body)["messages"][-1]["content"]


def _history(prompt: str) -> list[str]:
    return [
        json.loads(quoted) for quoted in re.findall(r'^- (".*")$', prompt, re.MULTILINE)
    ]


def _alone(prompt: str) -> list[str]:
    """The texts that have a line of their own: item and chain."""
    return [
        json.loads(quoted) for quoted in re.findall(r'^(".*")$', prompt, re.MULTILINE)
    ]


def _answers(content: Callable[[dict[str, Any], str], str]) -> Any:
    def respond(connection: Any, method: str, path: str, raw: bytes) -> None:
        body = json.loads(raw)
        message = {"content": content(body, body["messages"][-1]["content"])}
        usage = {"prompt_tokens": 9, "completion_tokens": 1}
        payload = {"choices": [{"message": message}], "usage": usage}
        connection.send(200, json.dumps(payload).encode())

    return respond


def _names(shop: LeaveOneOut, items: Any) -> list[str]:
    texts = shop.store.item_texts
    return [str(texts[item]) for item in items if texts[item]]


def _said(body: dict[str, Any], prompt: str) -> str:
    """What it was shown."""
    return json.dumps([_history(prompt), _alone(prompt)])


def test_knowledge(shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make) -> None:
    served = endpoint(respond=_answers(_said))
    users = make(served.base_url, "preferences")
    items = users.using("item_facts")
    of_users, of_items = written_knowledge(shop, users, items, length=4)
    store = shop.store
    assert len(of_users) == store.n_users + 1 and len(of_items) == store.n_items + 1
    assert of_users[0] == of_items[0] == ""
    described = user_texts(shop, 4)
    for user in range(1, store.n_users + 1):
        events = store.events.row(user)
        # The last four of training: neither validation nor test.
        shown = _names(shop, events[:-2][-4:])
        if shown:
            assert of_users[user] == f"{json.dumps([shown, []])} {described[user]}"
        else:
            assert of_users[user] == ""
    for item, text in enumerate(store.item_texts):
        assert of_items[item] == (json.dumps([[], [text]]) if text else "")
    # Equal prompts are sent once.
    assert len(served.bodies) == len(set(served.bodies))
    assert users.report()["texts"] + items.report()["texts"] == len(served.bodies)
    sent = b"".join(served.bodies).decode()
    for name in [*store.user_ids[1:], *store.item_ids[1:]]:
        assert not re.search(rf"\b{name}\b", sent)
    again = written_knowledge(shop, users, items, length=4)
    assert again == (of_users, of_items)
    assert users.report()["ledger"]["requests"] == len(served.bodies)


def test_users_without_an_answer_have_no_text(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make
) -> None:
    served = endpoint(respond=_answers(lambda body, prompt: ""))
    users = make(served.base_url, "preferences", reasks=0)
    of_users, of_items = written_knowledge(shop, users, users.using("item_facts"))
    assert not any(of_users) and not any(of_items)
    report = users.report()
    assert report["texts_missing"] == report["texts"] == report["problems"]["empty"]


def _rows(shop: LeaveOneOut) -> tuple[np.ndarray, ...]:
    """No row, then training positives that have texts, the second labelled 0."""
    train, texts = shop.train, shop.store.item_texts
    before = shop.store.events
    good = [
        row
        for row in range(len(train))
        if texts[train.items[row]]
        and _names(shop, before.row(train.users[row])[: train.positions[row]])
    ][5:9]
    users, positions, items = (
        np.concatenate([[0], each[good]])
        for each in (train.users, train.positions, train.items)
    )
    return users, positions, items, np.array([0, 1, 0, 1, 1])


def _judging(rating: Callable[[str, str], str]) -> Any:
    """Chains are `item@seed`; the judge's answers depend on item and seed."""

    def content(body: dict[str, Any], prompt: str) -> str:
        shown = _alone(prompt)
        if len(shown) == 1:
            return f"{shown[0]}@{body['seed']}"
        item, seed = shown[1].rsplit("@", 1)
        assert item == shown[0]
        return rating(item, seed)

    return _answers(content)


def test_the_best_of_three_chains_is_kept(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make
) -> None:
    rows = _rows(shop)
    names = [str(shop.store.item_texts[item]) for item in rows[2]]
    # Means of 5, 5.25 and 5; of 4, 6 and 6; of none, 1 and none; of none at all.
    said = {
        names[1]: ["5 5 5 5", "5 5 5 6", "2 8 2 8"],
        names[2]: ["4 4 4 4", "6 6 6 6", "9 3 9 3"],
        names[3]: ["10 10 10", "1 1 1 1", "11 10 10 10"],
        names[4]: ["fine", "good", "great"],
    }
    assert len(said) == 4
    seeds = ["0", "1000", "2000"]

    def rating(item: str, seed: str) -> str:
        return said[item][seeds.index(seed)]

    served = endpoint(respond=_judging(rating))
    writer = make(served.base_url, "chain_of_thought", reasks=0)
    judge = writer.using("judge_chain", parameters={"temperature": 0.0})
    chains = written_chains(shop, *rows, writer=writer, judge=judge)
    best = ["1000", "1000", "1000", "0"]
    expected = [f"{n}@{seed}" for n, seed in zip(names[1:], best, strict=True)]
    assert chains == ["", *expected]
    assert len(served.bodies) == 4 * 3 + 4 * 3
    report = judge.report()
    # What can't be read counts as 0, and is told.
    assert report["problems"] == {"malformed": 5}
    assert (report["texts"], report["texts_missing"]) == (12, 5)
    assert writer.report()["texts"] == 12
    again = written_chains(shop, *rows, writer=writer, judge=judge)
    assert again == chains and len(served.bodies) == 24


def test_chains_are_told_what_came_before_and_the_outcome(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make
) -> None:
    rows = _rows(shop)
    ratings = json.dumps(dict.fromkeys(NAMES, 5))
    served = endpoint(respond=_judging(lambda item, seed: ratings))
    writer = make(served.base_url, "chain_of_thought")
    judge = writer.using("judge_chain")
    chains = written_chains(
        shop, *rows, writer=writer, judge=judge, samples=2, length=3
    )
    prompts = [_prompt(body) for body in served.bodies]
    for user, position, item, label, chain in list(zip(*rows, chains, strict=True))[1:]:
        name = str(shop.store.item_texts[item])
        assert chain == f"{name}@0"
        shown = [prompt for prompt in prompts if _alone(prompt)[0] == name]
        assert len(shown) == 4
        for prompt in shown:
            before = shop.store.events.row(user)[:position][-3:]
            assert _history(prompt) == _names(shop, before)
            outcome = "The user chose it." if label else "The user did not choose it."
            assert outcome in prompt


def test_nothing_is_rated_where_there_is_no_choice(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make
) -> None:
    rows = _rows(shop)
    names = [str(shop.store.item_texts[item]) for item in rows[2]]

    def content(body: dict[str, Any], prompt: str) -> str:
        (item,) = _alone(prompt)
        # The first writes one text always, the second one time in three, others none.
        said = {names[1]: "same", names[2]: "once" if body["seed"] == 1000 else ""}
        return said.get(item, "")

    served = endpoint(respond=_answers(content))
    writer = make(served.base_url, "chain_of_thought", reasks=0)
    judge = writer.using("judge_chain")
    chains = written_chains(shop, *rows, writer=writer, judge=judge)
    assert chains == ["", "same", "once", "", ""]
    assert len(served.bodies) == 12 and judge.report()["texts"] == 0
    assert writer.report()["problems"] == {"empty": 2 + 3 + 3}


def test_a_cap_leaves_what_came(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make
) -> None:
    rows = _rows(shop)
    served = endpoint(respond=_judging(lambda item, seed: "5 5 5 5"))
    writer = make(
        served.base_url,
        "chain_of_thought",
        caps={"max_requests": 5},
        transport={"concurrency": 1},
    )
    judge = writer.using("judge_chain")
    chains = written_chains(shop, *rows, writer=writer, judge=judge)
    # The first sample of every row comes before the second of any.
    assert all(chain.endswith("@0") for chain in chains[1:])
    assert writer.report()["stopped_by"] == judge.report()["stopped_by"]
    assert writer.report()["stopped_by"] == "max_requests"


def test_chain_rules(shop: LeaveOneOut, make: Make) -> None:
    writer = make("http://localhost:1/v1", "chain_of_thought")
    judge = writer.using("judge_chain")
    users, positions, items, labels = _rows(shop)
    with pytest.raises(ConfigError, match="must ask for ratings. Received: 'chain_of"):
        written_chains(
            shop, users, positions, items, labels, writer=writer, judge=writer
        )
    later = np.where(users, shop.train_lengths[users], 0)
    with pytest.raises(DataError, match="training rows alone. Received: position"):
        written_chains(shop, users, later, items, labels, writer=writer, judge=judge)
    facts = writer.using("judge_chain")
    with pytest.raises(ConfigError, match="is about chain too"):
        written_chains(shop, users, positions, items, labels, writer=facts, judge=judge)


def test_the_estimate_is_what_is_then_sent(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    entry = {"prompt": 10.0, "completion": 100.0, "batch": 0.5}
    prices.write_text(json.dumps({"models": {"local": entry}}))
    served = endpoint(respond=_judging(lambda item, seed: "5 5 5 5"))
    writer = make(served.base_url, "chain_of_thought", prices=str(prices))
    judge, rows = writer.using("judge_chain"), _rows(shop)
    said = estimate_chains(shop, *rows, writer=writer, judge=judge)
    assert not served.bodies
    written_chains(shop, *rows, writer=writer, judge=judge)
    bodies = [json.loads(body) for body in served.bodies]
    for name, each in (("chains", writer), ("ratings", judge)):
        sent = [
            body
            for body in bodies
            if ("response_format" in body) == (each.template.schema is not None)
        ]
        found = said[name]
        assert found["requests"] == found["counted_requests"] == len(sent) == 12
        most = sum(body["max_tokens"] for body in sent)
        assert found["completion_tokens_at_most"] == most > found["completion_tokens"]
        usd = (found["prompt_tokens"] * 10 + found["completion_tokens"] * 100) / 1e6
        assert found["usd"] == pytest.approx(usd, abs=1e-4)
    assert said["chains"]["completion_tokens"] == 12 * 200
    assert said["chains"]["sample_prompt"] in [body["messages"] for body in bodies]
    # One chain of a row is not rated.
    one = estimate_chains(shop, *rows, writer=writer, judge=judge, samples=1)
    assert (one["chains"]["requests"], one["ratings"]["requests"]) == (4, 0)


def test_the_estimate_of_knowledge(
    shop: LeaveOneOut, endpoint: Callable[..., Any], make: Make
) -> None:
    served = endpoint(respond=_answers(_said))
    users = make(served.base_url, "preferences")
    items = users.using("item_facts")
    said = estimate_knowledge(shop, users, items, length=4)
    written_knowledge(shop, users, items, length=4)
    sent = said["users"]["requests"] + said["items"]["requests"]
    assert sent == len(served.bodies)
    assert said["users"]["usd"] is None
    assert said["users"]["price_warning"] == "no price is known"
    some = estimate_knowledge(shop, users, items, length=4, most=20)
    for name, each in some.items():
        assert each["counted_requests"] == 20
        assert each["requests"] == said[name]["requests"]
        tokens = said[name]["prompt_tokens"]
        assert each["prompt_tokens"] == pytest.approx(tokens, rel=0.1)
    nothing = estimate_writing(users, [None])
    assert nothing["requests"] == 0 and nothing["sample_prompt"] is None
