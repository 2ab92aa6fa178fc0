"""The base of all typed settings: unknown names are refused, values do not change."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Typed, immutable settings; documented field by field in the subclasses."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
