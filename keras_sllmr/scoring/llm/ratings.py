"""Ratings of a text by several criteria: what is asked for, and how it is read."""

import json
import re
from typing import Any

from pydantic import Field, model_validator

from keras_sllmr.scoring.llm.answer_format import object_schema
from keras_sllmr.scoring.llm.answers import json_object, within
from keras_sllmr.settings import Settings

_NUMBER = re.compile(r"(?<![\w.\-])\d+(?:\.\d+)?(?![\w]|\.\d)")


class Ratings(Settings):
    """Criteria, each rated by a whole number from `low` to `high`.

    Args:
        names: str. The criteria.
        low: int. The worst rating. Defaults to `1`.
        high: int. The best rating. Defaults to `10`.

    Example:
        >>> ratings = Ratings(names=("coherence", "relevance"))
        >>> ratings.read('Here: {"coherence": 7, "relevance": 4}')
        [7.0, 4.0]
        >>> ratings.read("Coherence 7, relevance 4")
        [7.0, 4.0]
        >>> ratings.read("Coherence 7, relevance 11") is None
        True
    """

    names: tuple[str, ...] = Field(min_length=1)
    low: int = 1
    high: int = 10

    @model_validator(mode="after")
    def _check(self) -> "Ratings":
        if not self.low < self.high:
            raise ValueError(
                f"`low` must be less than `high`, got low={self.low}, high={self.high}"
            )
        if len(set(self.names)) < len(self.names):
            raise ValueError("`names` must be different")
        return self

    @property
    def answer_schema(self) -> dict[str, Any]:
        """Strict JSON schema of the answer."""
        bounds = {"minimum": self.low, "maximum": self.high}
        return object_schema(
            {name: {"type": "integer", **bounds} for name in self.names}
        )

    @property
    def example(self) -> str:
        """A right answer, as long as a real one."""
        return json.dumps(dict.fromkeys(self.names, self.high))

    def read(self, text: str) -> list[float] | None:
        """The ratings in a text: a JSON object, or as many bare numbers as criteria.

        Args:
            text: str. An answer.

        Returns:
            In the order of the criteria; none when one is missing or out of bounds.
        """
        said = json_object(text)
        if said is not None:
            given = [said.get(name) for name in self.names]
        else:
            given = [float(number) for number in _NUMBER.findall(text)]
        ratings = [within(value, self.low, self.high) for value in given]
        if len(ratings) != len(self.names):
            return None
        known = [float(rating) for rating in ratings if rating is not None]
        return known if len(known) == len(ratings) else None
