"""The roles that a domain can have in a run."""

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    """The role of a domain. Its value is the name of the domain, or a prefix if there can be several.

    Attributes:
        SOURCE: Domain with labels on which the run trains. Validation and evaluation use it.
        FURTHER_SOURCE: Another source domain with labels: `source_2`, `source_3`, ...
        TARGET: Domain on which the run trains without labels. It is used to evaluate an adaptation.
        FURTHER_TARGET: Another target domain without labels: `target_2`, ...
        TARGET_LABELLED: A few rows of the target domain that train with labels.
        OTHER: Domain without a role in a run, such as rows to predict or the data of another task.
    """

    SOURCE = "source"
    FURTHER_SOURCE = "source_"
    TARGET = "target"
    FURTHER_TARGET = "target_"
    TARGET_LABELLED = "target_labelled"
    OTHER = ""

    @classmethod
    def of(cls, name: str) -> "Role":
        """Returns the role of a domain by its name. Run directories store the name."""
        exact = (cls.SOURCE, cls.TARGET, cls.TARGET_LABELLED)
        begun = (cls.FURTHER_SOURCE, cls.FURTHER_TARGET)
        found = (role for role in exact if role.value == name)
        return next(found, None) or next((role for role in begun if name.startswith(role)), cls.OTHER)

    def numbered(self, number: int) -> str:
        """Returns the name of a further domain. The first domain of a kind has no number."""
        return f"{self.value}{number}"

    @property
    def is_unlabelled_target(self) -> bool:
        """Whether a run trains on the domain without its labels."""
        return self in (Role.TARGET, Role.FURTHER_TARGET)

    @property
    def must_have_labels(self) -> bool:
        """Whether the rows of the domain must have labels."""
        return self in (Role.SOURCE, Role.FURTHER_SOURCE)


def judged_first(domains: Iterable[str]) -> list[str]:
    """Returns the names of domains. The target is first, because a run that adapts is judged by it."""
    return sorted(domains, key=lambda name: Role.of(name) is not Role.TARGET)
