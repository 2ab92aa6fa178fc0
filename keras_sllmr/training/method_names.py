"""The names of the methods; light to import."""

from typing import Literal, TypeAlias

#: See `training.methods` for what each is.
Method: TypeAlias = Literal[
    "none", "sllmr", "global", "pointwise", "kd", "kar", "llm_cf"
]
