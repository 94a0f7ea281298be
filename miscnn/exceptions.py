"""The errors of miscnn.

Every one derives from a built-in error, so that code which knows nothing of miscnn can
still catch it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Subjects that are named in one message.
_TOLD = 20


class MiscnnError(Exception):
    """Base of all errors that miscnn raises of its own."""


class SampleError(MiscnnError, ValueError):
    """A subject cannot be used as it is.

    Parameters
    ----------
    index : str
        Index of the subject.
    reason : str
        What is wrong, what was expected, and how to mend it.
    """

    def __init__(self, index: str, reason: str) -> None:
        super().__init__(f"sample {index!r}: {reason}")
        self.index = index
        self.reason = reason

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str]]:
        return type(self), (self.index, self.reason)


class UnreadableFileError(SampleError):
    """A file exists but cannot be read as what its name promises."""


class GridMismatchError(SampleError):
    """Two arrays of one subject do not lie on the same voxel grid."""


class LabelError(SampleError):
    """A segmentation holds values that are no class labels."""


class MissingFileError(MiscnnError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class DownloadError(MiscnnError, OSError):
    """A file could not be downloaded or unpacked, or is not the one that was expected."""


class NotFittedError(MiscnnError, ValueError):
    """A part that learns from the training set was used before it was fitted."""


class ConfigurationError(MiscnnError, ValueError):
    """Arguments that contradict each other or the data."""


class DamagedFileError(MiscnnError, ValueError):
    """A file of this library's own cannot be read."""


class ContractError(MiscnnError, AssertionError):
    """A plug-in does not keep a promise of its base class."""


class PredictionError(MiscnnError, RuntimeError):
    """Some subjects could not be predicted; the others were.

    Parameters
    ----------
    failures : mapping of str to exception
        What went wrong, by subject.
    total : int
        Number of subjects that were asked for.
    results : list, optional
        Where results were to be returned: those of all subjects in the order asked for, None for
        those that failed.
    """

    def __init__(
        self, failures: Mapping[str, Exception], total: int, results: list[Any] | None = None
    ) -> None:
        told = [f"{index}: {reason_of(error, index)}" for index, error in failures.items()]
        more = [f"… and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
        super().__init__(
            f"{len(failures)} of {total} subject(s) could not be predicted"
            + (", the others were: " if len(failures) < total else ": ")
            + "; ".join([*told[:_TOLD], *more])
        )
        self.failures = dict(failures)
        self.total = total
        self.results = results


class FoldError(MiscnnError, RuntimeError):
    """Some folds of a cross-validation failed; the others are finished and kept.

    Parameters
    ----------
    failures : mapping of int to str
        What went wrong, by number of the fold.
    total : int
        Number of folds.
    """

    def __init__(self, failures: Mapping[int, str], total: int) -> None:
        told = [f"fold {number}: {failures[number]}" for number in sorted(failures)]
        more = [f"… and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
        rest = ", the others are finished" if len(failures) < total else ""
        super().__init__(
            f"{len(failures)} of {total} fold(s) failed{rest}; the same call with resume=True "
            f"goes on. {'; '.join([*told[:_TOLD], *more])}"
        )
        self.failures = dict(failures)
        self.total = total

    def __reduce__(self) -> tuple[type[FoldError], tuple[dict[int, str], int]]:
        return type(self), (self.failures, self.total)


def reason_of(error: Exception, index: str) -> str:
    """Say what went wrong with a subject, in a text that names the subject already.

    Parameters
    ----------
    error : Exception
    index : str
        The subject, whose name is left out.
    """
    if isinstance(error, SampleError):
        return error.reason
    if isinstance(error, MiscnnError):
        return str(error).removeprefix(f"sample {index!r}: ")
    return f"{type(error).__name__}: {error}"
