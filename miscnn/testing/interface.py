"""The contract of data interfaces, put to the test."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading._patterns import natural_key
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MiscnnError
from miscnn.testing._interface_promises import Promises, SourcesUnchanged, equal, told
from miscnn.testing._interface_saving import SavingCheck
from miscnn.testing._interface_subject import SubjectCheck

# Subjects that are looked at by default.
_SUBJECTS = 4
_THREADS = 4
_ROUNDS = 3


def check_interface(
    interface: DataInterface,
    path: str | Path = "",
    *,
    indices: Sequence[str] | None = None,
    save: bool = True,
) -> None:
    """Put a data interface through the contract of its base class, on a data set.

    Checked are: it is copied, pickled, and made again from its JSON, and reads the same then; it
    lists distinct subjects in a fixed order and refuses a folder that is not there; images have
    the declared channels and axes, real and finite values, and a grid that agrees with the
    array, with ``load_geometry()`` and with the segmentation; segmentations hold declared labels,
    and ``has_segmentation()`` tells whether there is one; loading again gives the same, whatever
    the caller wrote into the arrays, and in whatever order and thread; an unknown subject is
    refused; predictions come back voxel by voxel, on the image's grid, those of another shape are
    refused; the data set is not changed.

    Parameters
    ----------
    interface : DataInterface
        It is not changed: copies are initialized.
    path : str or Path
        A data set in its format, as for :class:`~miscnn.DataIO`. A small one will do; with two
        subjects of different shapes more is found. Not needed for data in memory.
    indices : sequence of str, optional
        The subjects to look at. Default: four, evenly spread, one of them with a segmentation
        if there is any.
    save : bool
        Whether predictions are saved, to a temporary folder.

    Raises
    ------
    ContractError
        Names the promise that is broken. It is an AssertionError.
    ConfigurationError
        If ``indices`` is empty or names a subject that is not listed.

    Notes
    -----
    Labels may be stored as floating point numbers if these are whole. The grid of a saved
    prediction is read from the file where that is NIfTI or a format of ITK; of other formats only
    what ``load_prediction()`` returns can be seen. Formats that hold no probabilities may refuse
    them. What is wrong with the data set itself is told by :meth:`miscnn.DataIO.verify`.

    Examples
    --------
    >>> from miscnn.data_loading.interfaces import DictionaryInterface
    >>> image, labels = np.zeros((8, 7, 4)), np.ones((8, 7, 4), dtype=np.uint8)
    >>> check_interface(DictionaryInterface({"a": (image, labels)}))
    """
    with SourcesUnchanged(Promises(interface), path) as sources:
        check = _Check(interface, path)
        listed = check.listed
        if indices is not None:
            unknown = [index for index in indices if index not in listed]
            if unknown or not len(indices):
                raise ConfigurationError(
                    f"indices={list(indices)!r}: expected some of the subjects that are listed, "
                    f"{', '.join(listed[:_SUBJECTS])}{', …' if len(listed) > _SUBJECTS else ''}"
                )
        check.run(check.some() if indices is None else list(indices), save, sources)


class _Check:
    def __init__(self, interface: DataInterface, path: str | Path) -> None:
        self.promises = Promises(interface)
        self.require = self.promises.require
        self.path = path
        self.given = interface
        self.interface = self.copied(interface)
        self.listed = self.checked_list(self.interface)

    def run(self, indices: list[str], save: bool, sources: SourcesUnchanged) -> None:
        for index in indices:
            files = Promises(self.given, index).called(
                "source_files()",
                lambda index=index: list(map(Path, self.interface.source_files(index))),  # type: ignore[misc]
            )
            sources.add(files)
        self.check_made_again()
        self.check_folder()
        samples = [SubjectCheck(self.interface, index).run() for index in indices]
        self.check_order_and_threads(self.interface, samples)
        for what, other in (
            ("copied by copy.deepcopy", self.copied(self.interface)),
            ("copied by pickle", self.pickled(self.interface)),
        ):
            self.check_twin(what, other, samples[0])
        self.check_unknown()
        if save:
            with tempfile.TemporaryDirectory() as folder:
                rng = np.random.default_rng(0)
                SavingCheck(self.interface, samples, Path(folder), rng).run()

    def some(self) -> list[str]:
        """Return a few subjects, one of them with a segmentation if there is any."""
        places = np.linspace(0, len(self.listed) - 1, min(_SUBJECTS, len(self.listed)))
        chosen = [self.listed[int(place)] for place in places]

        def segmented(index: str) -> bool:
            try:
                return bool(self.interface.has_segmentation(index))
            except Exception:  # told when this subject is looked at
                return True

        if not any(map(segmented, chosen)):
            chosen += [index for index in self.listed if segmented(index)][:1]
        return chosen

    # ------------------------------------------------------------------ the interface itself

    def copied(self, interface: DataInterface) -> DataInterface:
        try:
            return copy.deepcopy(interface)
        except Exception as error:  # of whatever it holds
            raise self.promises.broken(
                f"it cannot be copied by copy.deepcopy ({told(error)}); keep no open files, locks "
                "or connections on self: open them where they are read"
            ) from error

    def pickled(self, interface: DataInterface) -> DataInterface:
        try:
            made: DataInterface = cloudpickle.loads(cloudpickle.dumps(interface))
        except Exception as error:
            raise self.promises.broken(
                f"it cannot be pickled ({told(error)}), as folds in other processes need it; keep "
                "no open files, locks or connections on self: open them where they are read"
            ) from error
        return made

    def check_made_again(self) -> None:
        cls = type(self.given)
        try:
            document = json.loads(json.dumps(serialize(self.given)))
            made = deserialize(document, {document["class"]: cls})
        except (AttributeError, TypeError, MiscnnError) as error:
            raise self.promises.broken(
                f"it cannot be made again from its configuration as JSON ({told(error)}); store "
                "each argument of the constructor unchanged under its own name"
            ) from error
        self.require(
            json.dumps(serialize(made)) == json.dumps(document),
            "made again from its JSON, it has another configuration; let get_config() return all "
            "that from_config() takes, as JSON values",
        )
        for name in ("channels", "classes", "three_dim", "ignore_label"):
            before, after = getattr(self.given, name, None), getattr(made, name, None)
            self.require(
                before == after,
                f"made again from its JSON, it has {name}={after!r}, not {before!r}; let the "
                "constructor take it as an argument and hand it to super().__init__()",
            )
        if self.given.reads_files:
            self.require(
                self.checked_list(made) == self.listed,
                "made again from its JSON, it lists other subjects; all that reading depends on "
                "must be arguments of the constructor",
            )

    def checked_list(self, interface: DataInterface) -> list[str]:
        found: Any = self.promises.called("initialize()", lambda: interface.initialize(self.path))
        self.require(
            isinstance(found, list) and all(isinstance(i, str) and i for i in found),
            f"initialize() must return a list of names, got {str(found)[:200]}; "
            "turn numbers and paths into text",
        )
        self.require(
            bool(found),
            f"initialize() found no subject in {str(self.path)!r}; hand in a folder with some",
        )
        twice = sorted({index for index in found if found.count(index) > 1})
        self.require(
            not twice,
            f"initialize() lists {', '.join(twice[:_SUBJECTS])} more than once; an index is the "
            "name of one subject",
        )
        # Slices are sorted by their volume first.
        self.require(
            found in (sorted(found), sorted(found, key=natural_key), sorted(found, key=_by_volume)),
            f"initialize() lists subjects in no order: {', '.join(found[:10])}; sort them, or they "
            "differ from machine to machine, and with them the folds",
        )
        again = self.promises.called("initialize()", lambda: interface.initialize(self.path))
        self.require(again == found, "initialize() lists other subjects the second time")
        return found  # type: ignore[no-any-return]  # as was seen above

    def check_folder(self) -> None:
        if not self.given.reads_files:
            return
        other = self.copied(self.given)
        missing = Path(self.path) / "there is no such folder"
        self.promises.refused(
            "initialize() with a folder that does not exist",
            lambda: other.initialize(missing),
            "raise MissingFileError: a mistyped path must not look like an empty data set",
        )

    def check_unknown(self) -> None:
        index = f"no_such_{self.listed[0]}"
        while index in self.listed:
            index = f"no_{index}"
        promises, interface = Promises(self.interface, index), self.copied(self.interface)
        for name in ("load_image", "load_segmentation", "load_geometry"):
            promises.refused(
                f"{name}() of a subject that does not exist",
                lambda name=name: getattr(interface, name)(index),  # type: ignore[misc]
                "raise MissingFileError with the name of the subject",
            )
        try:
            known = interface.has_segmentation(index)
        except (MiscnnError, FileNotFoundError):
            return
        except Exception as error:
            raise promises.broken(
                f"has_segmentation() of a subject that does not exist raised {told(error)}; "
                "return False"
            ) from error
        promises.require(not known, "has_segmentation() is True for a subject that does not exist")

    # ------------------------------------------------------------------ others, and at once

    def check_order_and_threads(self, interface: DataInterface, samples: list[Sample]) -> None:
        for sample in (*reversed(samples), *samples):
            self.check_same(
                interface, sample, "after other subjects were loaded, its {what} is another one"
            )
        work = [samples[k % len(samples)] for k in range(_ROUNDS * max(len(samples), _THREADS))]
        with ThreadPoolExecutor(_THREADS) as pool:
            done = [
                pool.submit(
                    self.check_same,
                    interface,
                    sample,
                    "loaded in several threads at once, its {what} is another one",
                )
                for sample in work
            ]
            for future in done:
                future.result()

    def check_same(self, interface: DataInterface, sample: Sample, promise: str) -> None:
        promises = Promises(interface, sample.index)
        remedy = "load_…() must depend on the index alone: keep nothing of a subject on self"

        def load() -> tuple[Any, Any]:
            image, _ = interface.load_image(sample.index)
            if sample.segmentation is None:
                return image, None
            labels = interface.load_segmentation(sample.index)
            return image, interface.to_classes(labels, sample.index)

        image, labels = promises.called(promise.split(",")[0], load)
        promises.require(
            image.size == sample.image.size
            and equal(image.reshape(sample.image.shape), sample.image),
            f"{promise.format(what='image')}; {remedy}",
        )
        if labels is not None and sample.segmentation is not None:
            promises.require(
                labels.size == sample.segmentation.size
                and equal(labels.reshape(sample.segmentation.shape), sample.segmentation),
                f"{promise.format(what='segmentation')}; {remedy}",
            )

    def check_twin(self, what: str, other: DataInterface, sample: Sample) -> None:
        self.check_same(other, sample, f"{what}, its {{what}} is another one")


def _by_volume(index: str) -> list[tuple[list[str | int], str]]:
    return [natural_key(part) for part in index.split(":#:")]
