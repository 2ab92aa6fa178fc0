"""The words that settings of scoring may be; imports nothing heavy."""

from typing import Literal, TypeAlias

#: How scores become [0, 1], see `calibration.calibrate`.
Calibration: TypeAlias = Literal["none", "sigmoid", "minmax", "rank", "zscore"]

#: What becomes of pairs without an answer, see `calibration.impute`.
Missing: TypeAlias = Literal["drop", "half"]

#: Whom to ask about first, see `budget.ask_order`.
Order: TypeAlias = Literal["benefit", "random", "user"]
