"""Errors that a user can act on: the rule, what came, and what to do."""


class SllmrError(Exception):
    """Base of all errors this package raises on purpose.

    `exit_code` is what the `sllmr` command returns for it.
    """

    exit_code = 1

    # AutoGraph only keeps the type of errors that are built as this one is; others
    # leave `model.fit` as a StagingError.
    __init__ = Exception.__init__


class ConfigError(SllmrError, ValueError):
    """A setting or an argument breaks its rule."""

    exit_code = 2


class DataError(SllmrError, ValueError):
    """Input data break a rule that the store relies on."""

    exit_code = 3


class StoreError(SllmrError):
    """A store, score table or run folder is missing, damaged, busy or of another version."""

    exit_code = 4


class EnvironmentProblem(SllmrError, ImportError):
    """The installed packages or the machine cannot run this."""

    exit_code = 5


class EndpointError(SllmrError):
    """An endpoint, of an LLM or a model server, refuses, is down or is too slow.

    What an LLM answered so far is kept.
    """

    exit_code = 6
