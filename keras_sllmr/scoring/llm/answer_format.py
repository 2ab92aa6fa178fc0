"""What a template asks the LLM to answer, and its JSON schema."""

import json
import math
from typing import Any, Literal

from pydantic import Field, model_validator

from keras_sllmr.settings import Settings


class AnswerFormat(Settings):
    """The answer's kind, range and names.

    Args:
        kind: str. `"scores"`, an object with a list of (id, score) objects;
            `"ranking"`, an object with a list of ids, the best first; or `"yes_no"`,
            the single word Yes or No.
        low: float. The lowest score.
        high: float. The highest score.
        integer: bool. Whether scores are whole numbers.
        entries: str. Name of the list in the object.
        id: str. Name of the candidate's number in a (id, score) object.
        score: str. Name of the score there.

    Example:
        >>> schema = AnswerFormat(kind="ranking").schema_for(2)
        >>> schema["properties"]["answers"]["items"]
        {'type': 'integer', 'enum': [1, 2]}
    """

    kind: Literal["scores", "ranking", "yes_no"]
    low: float = Field(0.0, allow_inf_nan=False)
    high: float = Field(1.0, allow_inf_nan=False)
    integer: bool = False
    entries: str = Field("answers", min_length=1)
    id: str = Field("id", min_length=1)
    score: str = Field("score", min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "AnswerFormat":
        span = self.high - self.low
        if not 0 < span < math.inf:
            raise ValueError(
                f"`low` must be less than `high`, got low={self.low}, high={self.high}"
            )
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("`low` and `high` must be whole if `integer` is set")
        if self.id == self.score:
            raise ValueError("`id` and `score` must be different names")
        return self

    def example(self, n: int) -> str:
        """A right answer on n candidates, as long as a real one."""
        ids = range(1, n + 1)
        if self.kind == "yes_no":
            return "Yes"
        if self.kind == "ranking":
            return json.dumps({self.entries: list(ids)})
        score = self.high if self.integer else round(self.low + 0.83, 2)
        return json.dumps(
            {self.entries: [{self.id: each, self.score: score} for each in ids]}
        )

    def schema_for(self, n: int) -> dict[str, Any] | None:
        """Strict JSON schema of an answer on n candidates; none for `yes_no`.

        Args:
            n: int. Number of candidates; their ids are 1 to n.
        """
        if self.kind == "yes_no":
            return None
        identity = {"type": "integer", "enum": list(range(1, n + 1))}
        entry = identity
        if self.kind == "scores":
            number = int if self.integer else float
            score = {
                "type": "integer" if self.integer else "number",
                "minimum": number(self.low),
                "maximum": number(self.high),
            }
            entry = object_schema({self.id: identity, self.score: score})
        entries = {"type": "array", "items": entry, "minItems": n, "maxItems": n}
        return object_schema({self.entries: entries})


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Strict JSON schema of an object that has all of these, and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
