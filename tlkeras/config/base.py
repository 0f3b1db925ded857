"""What every part of a config shares: frozen values, unknown fields refused."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen value; an unknown field or a wrong type is an error when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())
