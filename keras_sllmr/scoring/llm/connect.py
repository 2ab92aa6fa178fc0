"""An engine from settings: client, price, caps and what was spent before."""

from typing import Any

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.batch import BatchEngine
from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.caps import Caps, Spending
from keras_sllmr.scoring.llm.client import Client, required_key
from keras_sllmr.scoring.llm.engine import Engine
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.prices import Price, PriceList
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.llm.tokens import TokenCounter
from keras_sllmr.scoring.llm.transport import TransportSettings


def known_price(model: str, prices: str | None = None) -> Price | None:
    """The price of a model; none if no list has it.

    Args:
        model: str. Its name.
        prices: str. A price file whose entries come first.
    """
    found = PriceList.load(prices)
    try:
        return found.price(model)
    except ConfigError:
        return None


def open_engine(
    ledger: Ledger,
    *,
    model: str,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    prices: str | None = None,
    caps: Caps | None = None,
    transport: TransportSettings | None = None,
    batch: BatchSettings | None = None,
) -> Engine:
    """An engine that asks an endpoint, and goes on where the ledger's last job ended.

    Args:
        ledger: of the answers.
        model: str. Whose tokens are counted and priced.
        base_url: str. See `Client`.
        api_key_env: str. See `Client`.
        prices: str. A price file.
        caps: over the ledger's whole life. Defaults to none.
        transport: see `TransportSettings`.
        batch: asks through the Batch API. Defaults to single requests.

    Raises:
        ConfigError: on a cap in USD for a model without a known price, or when the
            endpoint's key is missing.
    """
    caps, transport = caps or Caps(), transport or TransportSettings()
    if caps.max_usd is None:
        price = known_price(model, prices)
    else:
        price = PriceList.load(prices).price(model)

    def connect() -> Client:
        return Client(
            base_url=base_url,
            api_key_env=api_key_env,
            timeout=transport.timeout,
            connections=transport.concurrency,
        )

    required_key(base_url, api_key_env)  # better told before candidates are drawn
    spent = ledger.totals()
    spending = Spending(
        caps,
        price,
        batch=batch is not None,
        requests=spent.requests,
        tokens=spent.prompt_tokens + spent.completion_tokens,
        usd=spent.usd,
    )
    common: dict[str, Any] = {
        "spending": spending,
        "counter": TokenCounter(model),
        "settings": transport,
    }
    if batch is not None:
        return BatchEngine(connect, ledger, batch=batch, **common)
    return Engine(connect, ledger, **common)


def engine_for(
    ledger: Ledger, settings: LLMSettings, *, batch: BatchSettings | None = None
) -> Engine:
    """The engine that a language model's settings say.

    Args:
        ledger: of the answers. Caps count what it says was spent before.
        settings: see `LLMSettings`.
        batch: asks through the Batch API. Defaults to single requests.

    Raises:
        ConfigError: as for `open_engine`.
    """
    return open_engine(
        ledger,
        model=settings.model,
        base_url=settings.base_url,
        api_key_env=settings.api_key_env,
        prices=settings.prices,
        caps=settings.caps,
        transport=settings.transport,
        batch=batch,
    )
