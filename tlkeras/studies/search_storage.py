"""Where Optuna stores the study of an automatic search: a file in the shared folder, or a database."""

import re
from pathlib import Path

from tlkeras.errors import UserError, install

_JOURNAL = "study.journal"
_BEFORE = "auto"  # name of the study in folders whose state has none
SQLITE_WAITS = 60  # seconds that a process waits while another one writes


class Storage:
    """The place of a study.

    Args:
        url: URL of a database as SQLAlchemy takes it, such as `sqlite:////home/me/search.db`. None selects
            Optuna's journal, a file in the folder of the search, which also works on network drives.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, url: str | None):
        try:
            import optuna
        except ImportError as error:
            raise UserError(f"auto needs Optuna, the extra 'search': {install('search')}.") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.url = optuna, url

    def check(self) -> None:
        """Connects to the database without writing. Raises `UserError` if that fails."""
        if self.url is None:
            return
        import sqlalchemy

        try:
            engine = sqlalchemy.create_engine(self.url)
            with engine.connect():
                pass
            engine.dispose()
        except Exception as error:  # drivers have errors of their own
            raise self._refused(error) from None

    def create(self, folder: Path, name: str) -> None:
        """Creates a study.

        Args:
            folder: Directory of the search.
            name: Name of the study.
        """
        self.optuna.create_study(direction="maximize", study_name=name, storage=self._storage(folder))

    def open(self, folder: Path, name: str | None, seed: int):
        """Returns the study of a search.

        Args:
            folder: Directory of the search.
            name: Name of the study, or None for a search that began before studies had names.
            seed: Seed of the sampler.

        Raises:
            UserError: The storage does not hold the study.
        """
        storage, optuna = self._storage(folder), self.optuna
        if name not in (None, *optuna.study.get_all_study_names(storage)):
            raise UserError(
                f"The search in {folder} keeps its trials in another place: start it with the same --storage "
                f"as before. Received: --storage={self._shown}"
            )
        return optuna.create_study(
            direction="maximize", study_name=name or _BEFORE, load_if_exists=True, storage=storage,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=6),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        )  # fmt: skip

    def _storage(self, folder: Path):
        storages = self.optuna.storages
        if self.url is None:
            return storages.JournalStorage(storages.journal.JournalFileBackend(str(folder / _JOURNAL)))
        waits = {"connect_args": {"timeout": SQLITE_WAITS}} if self.url.startswith("sqlite") else None
        try:
            return storages.RDBStorage(self.url, engine_kwargs=waits)
        except Exception as error:  # drivers have errors of their own
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> UserError:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        reason = reason.replace(self.url or "", self._shown).rstrip(".")
        return UserError(
            f"The database of --storage cannot be opened: {reason}. Allowed: a URL of SQLAlchemy with its "
            f"driver installed, such as sqlite:////home/me/search.db. Received: --storage={self._shown}"
        )

    @property
    def _shown(self) -> str:
        """The URL without its password."""
        return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", self.url or "none")
