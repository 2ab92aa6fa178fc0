"""What tokens cost: a dated price list that users can override."""

import os
import re
from datetime import date
from pathlib import Path

from pydantic import Field, model_validator

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.request import Usage
from keras_sllmr.settings import Settings, read_mapping, settings_of

_PACKAGED = Path(__file__).with_name("prices.yaml")
_OLD_DAYS = 180

# How snapshots of a model are named: gpt-4o-mini-2024-07-18, gpt-4-0613.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


class Price(Settings):
    r"""Prices of a model.

    \(usd = 10^{-6} (w (prompt - cached) + c \, cached + a \, completion)\), times
    `batch` in the batch API. \(w\) is the higher of `prompt` and `cache_write`: an
    endpoint that charges for writing to its cache may write all it did not read.

    Args:
        prompt: float ≥ 0, USD per million tokens.
        completion: float ≥ 0, USD per million tokens.
        cached: float, USD per million prompt tokens read from the endpoint's cache, at
            most `prompt`. Defaults to `prompt`.
        cache_write: float ≥ 0, USD per million prompt tokens written to the cache.
            Defaults to `prompt`.
        batch: float in [0, 1]. Factor on all prices in the batch API. Defaults to `1`.
        source: str. Where the price is published.
        checked: date on which it was.

    Example:
        >>> price = Price(prompt=0.15, cached=0.075, completion=0.6, batch=0.5)
        >>> price.usd(Usage(prompt=1_000_000, completion=100_000))
        0.21
        >>> price.usd(Usage(prompt=1_000_000, completion=100_000), batch=True)
        0.105
    """

    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, allow_inf_nan=False)
    cache_write: float | None = Field(None, ge=0, allow_inf_nan=False)
    batch: float = Field(1.0, ge=0, le=1)
    source: str = ""
    checked: date | None = None

    @model_validator(mode="after")
    def _a_cache_saves(self) -> "Price":
        if self.cached is not None and self.cached > self.prompt:
            raise ValueError(
                f"`cached` must be at most `prompt`. Received: cached={self.cached}, "
                f"prompt={self.prompt}"
            )
        return self

    def usd(self, usage: Usage, *, batch: bool = False) -> float:
        """The price of this many tokens.

        Args:
            usage: tokens.
            batch: bool. Whether they went through the batch API.

        Returns:
            USD.
        """
        cached = min(usage.cached, usage.prompt)
        read = self.prompt if self.cached is None else self.cached
        micro = (
            (usage.prompt - cached) * max(self.prompt, self.cache_write or 0)
            + cached * read
            + usage.completion * self.completion
        )
        return micro * (self.batch if batch else 1) / 1e6

    @property
    def warning(self) -> str:
        """Says that the price is old; empty while it is not."""
        age = (date.today() - self.checked).days if self.checked else 0
        if age <= _OLD_DAYS:
            return ""
        return (
            f"The price used was checked on {self.checked}, {age} days ago. Compare it "
            f"with {self.source or 'its source'}, and give today's with `--prices`."
        )


#: What an endpoint of one's own charges.
FREE = Price(prompt=0, completion=0)


class PriceList(Settings):
    """Prices by model.

    Args:
        models: `Price` by model name.
        source: str. Of the entries that name none.
        checked: date. Of the entries that have none.

    Example:
        >>> PriceList.load().price("gpt-4o-mini-2024-07-18").completion
        0.6
    """

    models: dict[str, Price]
    source: str = ""
    checked: date | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> "PriceList":
        """Reads the packaged list, and replaces its entries by a file's.

        Args:
            path: a YAML file of the packaged one's form (`scoring/llm/prices.yaml`).

        Raises:
            ConfigError: when the file can not be read or breaks a rule.
        """
        models = _read(_PACKAGED)
        return cls(models=models | _read(Path(path)) if path else models)

    def price(self, model: str) -> Price:
        """A model's price, or that of the model that it is a dated snapshot of.

        Raises:
            ConfigError: when the list has neither.
        """
        for name in (model, _SNAPSHOT.sub("", model)):
            if name in self.models:
                return self.models[name]
        raise ConfigError(
            f"No price is known for the model {model!r}, so nothing can be said or "
            "capped in USD. Give a price file with `--prices`, in which `models` has "
            f"an entry `{model}: {{prompt: 0.15, completion: 0.60}}` (USD per million "
            "tokens; 0 for an endpoint of your own)."
        )


def _read(path: Path) -> dict[str, Price]:
    values = read_mapping(path, what="price file")
    prices = settings_of(PriceList, values, path.name)
    shared = {"source": prices.source, "checked": prices.checked}
    return {
        name: price.model_copy(
            update={key: shared[key] for key in shared if not getattr(price, key)}
        )
        for name, price in prices.models.items()
    }
