"""Names of the ways to spread a training over devices and machines."""

from typing import Literal

StrategyName = Literal["none", "mirrored", "multi_worker", "parameter_server"]
