"""The errors of miscnn.

Every one derives from a built-in error, so that code which knows nothing of miscnn can
still catch it.
"""

from __future__ import annotations


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
