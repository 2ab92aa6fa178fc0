"""The methods by name: what each is called, needs and reads of the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_sllmr.errors import ConfigError
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.settings import TrainSettings

_SECTIONS = ("selective", "kd", "kar", "llm_cf")


@dataclass(frozen=True)
class MethodSpec:
    """What tells a method from the plain training of a backbone.

    Args:
        label: what tables call it.
        needs: the offline inputs it cannot do without, see `OfflineInputs`.
        section: of the settings, its own; none reads the shared ones alone.
        fixed: settings of that section that make the method what it is.
    """

    label: str
    needs: tuple[str, ...] = ()
    section: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def guided(self) -> bool:
        """Whether LLM-scored candidates join the batches."""
        return self.section == "selective"


METHODS: dict[Method, MethodSpec] = {
    "none": MethodSpec("None"),
    "kd": MethodSpec("KD", ("row_scores",), "kd"),
    "kar": MethodSpec("KAR", ("knowledge",), "kar"),
    "llm_cf": MethodSpec("LLM-CF", ("examples", "text"), "llm_cf"),
    "pointwise": MethodSpec(
        "Pointwise", ("scores",), "selective", {"regularizer": "pointwise"}
    ),
    "global": MethodSpec(
        "Global", ("scores",), "selective", {"gate_objective": "fixed"}
    ),
    "sllmr": MethodSpec("S-LLMR", ("scores",), "selective"),
}


def method_named(method: str) -> MethodSpec:
    """A method by its name.

    Raises:
        ConfigError: when there is none.
    """
    for name, spec in METHODS.items():
        if name == method:
            return spec
    raise ConfigError(
        f"`method` must be one of {', '.join(METHODS)}. Received: method={method!r}"
    )


def label_of(method: str) -> str:
    """What tables call a method; the name itself where it is not one of ours."""
    labels: dict[str, str] = {name: spec.label for name, spec in METHODS.items()}
    return labels.get(method, method)


def with_fixed(method: Method, settings: TrainSettings) -> TrainSettings:
    """The settings with those that make the method what it is."""
    spec = method_named(method)
    if spec.section is None or not spec.fixed:
        return settings
    section = getattr(settings, spec.section).model_copy(update=dict(spec.fixed))
    return settings.model_copy(update={spec.section: section})


def used_settings(method: Method, settings: TrainSettings) -> dict[str, Any]:
    """The settings as plain values, without the sections of other methods."""
    own = method_named(method).section
    others = {section for section in _SECTIONS if section != own}
    return with_fixed(method, settings).model_dump(mode="json", exclude=others)
