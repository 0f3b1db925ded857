"""What a domain is to a run."""

from enum import StrEnum


class Role(StrEnum):
    """The role of a domain; its value is the domain's name, or begins it where there are several.

    Attributes:
        SOURCE: Trains with labels; what the run is validated and judged on.
        FURTHER_SOURCE: Trains with labels beside it: `source_2`, `source_3`, ...
        TARGET: Trains without labels; what an adaptation is judged on.
        FURTHER_TARGET: Trains without labels beside it: `target_2`, ...
        TARGET_LABELLED: A few rows of the target that train with labels.
        OTHER: Of no run: rows to predict, the data of another task.
    """

    SOURCE = "source"
    FURTHER_SOURCE = "source_"
    TARGET = "target"
    FURTHER_TARGET = "target_"
    TARGET_LABELLED = "target_labelled"
    OTHER = ""

    @classmethod
    def of(cls, name: str) -> "Role":
        """Returns the role of a domain by its name, as run directories keep it."""
        exact = (cls.SOURCE, cls.TARGET, cls.TARGET_LABELLED)
        begun = (cls.FURTHER_SOURCE, cls.FURTHER_TARGET)
        found = (role for role in exact if role.value == name)
        return next(found, None) or next((role for role in begun if name.startswith(role)), cls.OTHER)

    def numbered(self, number: int) -> str:
        """Returns the name of a further domain; the first of its kind, which has no number, is number 1."""
        return f"{self.value}{number}"

    @property
    def is_unlabelled_target(self) -> bool:
        """Whether it trains without labels."""
        return self in (Role.TARGET, Role.FURTHER_TARGET)

    @property
    def must_have_labels(self) -> bool:
        """Whether its rows have to come with labels."""
        return self in (Role.SOURCE, Role.FURTHER_SOURCE)
