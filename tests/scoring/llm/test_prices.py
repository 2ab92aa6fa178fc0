from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.prices import FREE, Price, PriceList
from keras_sllmr.scoring.llm.request import Usage


def test_usd_by_kind_of_token() -> None:
    price = Price(prompt=2, cached=0.5, completion=8, batch=0.5)
    usage = Usage(prompt=1_000_000, completion=500_000, cached=400_000)
    assert price.usd(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 8)
    assert price.usd(usage, batch=True) == pytest.approx(2.7)
    assert Price(prompt=2, completion=8).usd(usage) == pytest.approx(6)
    assert FREE.usd(usage) == 0


def test_what_is_not_read_from_the_cache_may_be_written_to_it() -> None:
    price = Price(prompt=1, cached=0.1, cache_write=1.25, completion=0)
    usage = Usage(prompt=1_000_000, cached=200_000)
    assert price.usd(usage) == pytest.approx(0.8 * 1.25 + 0.2 * 0.1)


def test_more_cached_than_prompt_tokens_is_all_of_them() -> None:
    price = Price(prompt=1, cached=0.5, completion=0)
    assert price.usd(Usage(prompt=10, cached=99)) == pytest.approx(5e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": -1},
        {"completion": float("nan")},
        {"prompt": float("inf")},
        {"cached": 3},
        {"batch": 1.5},
        {"promt": 1},
    ],
)
def test_prices_that_break_a_rule(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Price(**{"prompt": 2, "completion": 8, **wrong})


def test_the_packaged_list() -> None:
    prices = PriceList.load()
    mini = prices.price("gpt-4o-mini")
    assert (mini.prompt, mini.cached, mini.completion) == (0.15, 0.075, 0.6)
    assert prices.price("text-embedding-3-small").prompt == 0.02
    for price in prices.models.values():
        assert price.source.startswith("https://") and price.checked is not None
        assert price.batch == 0.5


def test_a_snapshot_has_its_models_price_unless_it_has_its_own() -> None:
    prices = PriceList.load()
    assert prices.price("gpt-4o-mini-2024-07-18") == prices.price("gpt-4o-mini")
    assert prices.price("gpt-4o-2024-05-13").prompt == 5.0
    assert prices.price("gpt-4o-2024-08-06").prompt == 2.5


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini-audio-preview", "ft:gpt-4o-mini:me", "llama", "gpt-4o-", ""]
)
def test_an_unknown_model_asks_for_a_price_file(model: str) -> None:
    with pytest.raises(ConfigError, match="price file with `--prices`"):
        PriceList.load().price(model)


def test_a_file_replaces_entry_by_entry(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "checked: 2026-01-02\nmodels:\n"
        "  gpt-4o-mini: {prompt: 1, completion: 2, checked: 2025-03-04}\n"
        "  llama: {prompt: 0, completion: 0}\n"
    )
    prices = PriceList.load(path)
    assert prices.price("gpt-4o-mini") == Price(
        prompt=1, completion=2, checked=date(2025, 3, 4)
    )
    assert prices.price("llama").checked == date(2026, 1, 2)
    assert prices.price("gpt-4o") == PriceList.load().price("gpt-4o")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "is not valid YAML"),
        ("", "must hold a mapping"),
        ("models: {a: {prompt: 1}}", r"models\.a\.completion: Field required"),
        ("models: {a: {prompt: x, completion: 1}}", r"models\.a\.prompt"),
        ("models: {a: {prompt: 1, completion: 1, cached: 2}}", "`cached` must be at m"),
        ("prices: {}", r"prices\.yaml\.models: Field required"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        PriceList.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such price file"):
        PriceList.load(tmp_path / "none.yaml")


def test_an_old_price_warns() -> None:
    def checked(days: int) -> Price:
        day = date.today() - timedelta(days=days)
        return Price(prompt=1, completion=1, source="https://x.org", checked=day)

    assert checked(179).warning == "" and FREE.warning == ""
    warning = checked(200).warning
    assert "200 days ago" in warning and "https://x.org" in warning
