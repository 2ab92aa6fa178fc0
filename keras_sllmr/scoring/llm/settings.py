"""Settings of a language model as teacher."""

from typing import Any

from pydantic import Field

from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.caps import Caps
from keras_sllmr.scoring.llm.client import endpoint_id
from keras_sllmr.scoring.llm.request_maker import RequestMaker, Structured
from keras_sllmr.scoring.llm.transport import TransportSettings
from keras_sllmr.settings import Settings


class LLMSettings(Settings):
    """What is asked, of whom, and how.

    Args:
        model: str. The endpoint's name of the model.
        base_url: str. Any OpenAI-compatible endpoint; none for `OPENAI_BASE_URL` or
            OpenAI itself.
        api_key_env: str. Environment variable that holds the key.
        endpoint: str. What stands for the endpoint in the ledger: answers are reused
            under the same name. Defaults to `base_url`.
        template: str. A packaged prompt (`paper`, `paper_100`, `ranking`, `yes_no`) or
            a YAML file.
        parameters: sent with every request, e.g. temperature, seed.
        structured: str. See `RequestMaker`.
        output_limit: str. Likewise.
        tokens_per_candidate: int. Likewise.
        tokens_beside: int. Likewise.
        per_request: int. Most candidates of a listwise request.
        permutations: int. Orders that each user's candidates are shown in; the mean
            score counts.
        seed: int. Of the orders.
        reasks: int. Most requests about candidates that an answer left out.
        score_temperature: float. τ: of a ranking, in ranks, or of the logits of yes
            and no.
        redact: str. `module:function` that every text goes through first.
        prices: str. A price file, whose entries come before the packaged ones.
        caps: see `Caps`.
        transport: see `TransportSettings`.
        batch: see `BatchSettings`; of use with the Batch API alone.
    """

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    endpoint: str | None = None
    template: str = "paper"
    parameters: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0.0})
    structured: Structured = "json_schema"
    output_limit: str = "max_tokens"
    tokens_per_candidate: int = Field(16, ge=1)
    tokens_beside: int = Field(64, ge=0)
    per_request: int = Field(30, ge=1)
    permutations: int = Field(1, ge=1)
    seed: int = 0
    reasks: int = Field(1, ge=0)
    score_temperature: float = Field(1.0, gt=0)
    redact: str | None = None
    prices: str | None = None
    caps: Caps = Caps()
    transport: TransportSettings = TransportSettings()
    batch: BatchSettings = BatchSettings()

    @property
    def endpoint_id(self) -> str:
        """What stands for the endpoint, without its secrets."""
        return self.endpoint or endpoint_id(self.base_url)

    def maker(self) -> RequestMaker:
        """Makes the requests."""
        return RequestMaker(
            model=self.model,
            endpoint=self.endpoint_id,
            parameters=self.parameters,
            structured=self.structured,
            output_limit=self.output_limit,
            tokens_per_candidate=self.tokens_per_candidate,
            tokens_beside=self.tokens_beside,
        )


class WriterSettings(LLMSettings):
    """As `LLMSettings`, for a language model that writes texts.

    What is said there of candidates, orders and scores is of no use here; the template
    is the writer's own.

    Args:
        parameters: sent with every request. Each sample of a text adds to the seed;
            several samples need a temperature above 0. Defaults to a temperature of
            `0.7` and the seed `0`.
        tokens_per_text: int. Most tokens of a text; `tokens_beside` comes on top.
            Defaults to twice the words that the template asks for.

    Example:
        >>> WriterSettings(model="gpt-4o-mini").parameters
        {'temperature': 0.7, 'seed': 0}
    """

    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"temperature": 0.7, "seed": 0}
    )
    tokens_per_text: int | None = Field(None, ge=1)
