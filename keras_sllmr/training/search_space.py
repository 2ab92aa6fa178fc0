"""What a search of hyper-parameters may choose from, typed."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import AnySettings, Settings, settings_of


def _finite(value: float) -> float:
    if value - value != 0:
        raise ValueError("must be finite")
    return value


Number: TypeAlias = Annotated[int | float, AfterValidator(_finite)]


class Range(Settings):
    """The numbers from `low` to `high`, both included.

    They are whole numbers when `low`, `high` and `step` are all written as such: from
    `1` to `3` there are three, from `1.0` to `3.0` all between.

    Args:
        low: int or float.
        high: int or float, above `low`.
        log: bool. Is the logarithm searched evenly? `low` must then be positive, and
            there is no `step`. Defaults to `False`.
        step: int or float > 0. Distance of the numbers to try. Defaults to none, and
            to 1 for whole numbers.

    Example:
        >>> Range(low=1, high=3).whole, Range(low=0.03, high=3, log=True).whole
        (True, False)
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if not self.low < self.high:
            raise ValueError("`low` must be below `high`")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with `log`, `low` must be positive and `step` left out")
        return self

    @property
    def whole(self) -> bool:
        """Whether they are whole numbers."""
        numbers = (self.low, self.high, self.step or 1)
        return all(isinstance(number, int) for number in numbers)

    def __contains__(self, value: object) -> bool:
        """Whether a value may be chosen, the steps left aside."""
        return (
            isinstance(value, int if self.whole else (int, float))
            and self.low <= value <= self.high
        )

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that obey the setting's rule only if all between do."""
        return (self.low, self.high)

    def suggest(self, trial: Any, name: str) -> Any:
        """A value that an Optuna trial chooses."""
        if self.whole:
            step = {} if self.step is None else {"step": self.step}
            return trial.suggest_int(name, self.low, self.high, log=self.log, **step)
        return trial.suggest_float(
            name, self.low, self.high, log=self.log, step=self.step
        )


class Choices(Settings):
    """Some values, in no order.

    Args:
        choices: numbers, texts, true and false, or null.

    Example:
        >>> "entropy" in Choices(choices=("entropy", "confidence"))
        True
    """

    choices: tuple[bool | int | float | str | None, ...] = Field(min_length=1)

    def __contains__(self, value: object) -> bool:
        """Whether a value may be chosen."""
        return value in self.choices

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return self.choices

    def suggest(self, trial: Any, name: str) -> Any:
        """A value that an Optuna trial chooses."""
        return trial.suggest_categorical(name, self.choices)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "choices" if "choices" in value else "range"
    return "choices" if isinstance(value, Choices) else "range"


Dimension: TypeAlias = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind),
]

#: by the dotted name of a field of `TrainSettings`, e.g. `selective.weight`.
SearchSpace: TypeAlias = dict[str, Dimension]


def with_values(settings: AnySettings, values: Mapping[str, Any]) -> AnySettings:
    """The settings with some of them replaced, by dotted names.

    Args:
        settings: the others.
        values: by name.

    Raises:
        ConfigError: on an unknown name, or a value that breaks the setting's rule.

    Example:
        >>> with_values(Range(low=1, high=3), {"high": 9}).high
        9
    """
    changed = settings.model_dump()
    for name, value in values.items():
        *parents, last = name.split(".")
        section: Any = changed
        for parent in parents:
            section = section.get(parent)
            if not isinstance(section, dict):
                raise ConfigError(
                    "A dotted name must lead through sections to a setting, e.g. "
                    f"selective.weight. Received: {name!r}"
                )
        section[last] = value
    return settings_of(type(settings), changed, "train")


def value_of(settings: Mapping[str, Any], name: str) -> Any:
    """A value of dumped settings by its dotted name; none where there is none."""
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
