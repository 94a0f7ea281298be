"""Predicting many subjects: finding them, loading them, and writing or returning results.

What a network and an ensemble of networks have in common. The next subject is read and the
previous one is written while a network works on one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn._files import remove_leftovers
from miscnn._scratch import Scratch
from miscnn.data_loading._checks import non_finite
from miscnn.data_loading._indices import subject_of
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.new_subjects import Given as Subjects
from miscnn.data_loading.new_subjects import Subject, find_subjects, load_subject
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    MiscnnError,
    PredictionError,
    SampleError,
    reason_of,
)
from miscnn.neural_network._engine import Engine
from miscnn.neural_network._ledger import Ledger, Row
from miscnn.neural_network._options import LABELS, OnError, PredictionOptions
from miscnn.neural_network._outputs import (
    Collector,
    count_voxels,
)
from miscnn.neural_network._roi import as_box
from miscnn.neural_network._targets import Plan, planned, sources_of
from miscnn.processing.postprocessing import PostProcessing
from miscnn.processing.postprocessing.base import check_label_map

__all__ = [
    "OnError",
    "PredictionOptions",
    "Subjects",
    "check_finite",
    "find_subjects",
    "load_subject",
    "predict_in_memory",
    "predict_subjects",
]

_log = logging.getLogger("miscnn.neural_network.prediction")


_ML = 1e-3  # of a mm³


def predict_subjects(
    given: Subjects,
    data_io: DataIO,
    make_engine: Callable[[], Engine],
    options: PredictionOptions | None = None,
    *,
    postprocessing: PostProcessing | None = None,
    identity: Callable[[], Mapping[str, Any]] = dict,
    notes: Mapping[str, Any] | None = None,
) -> list[Any] | None:
    """Predict subjects; write the results, or return them.

    Parameters
    ----------
    given : list of str, path, Sample or ndarray, or a list of them
        Indices of the data set, files or folders of images, or subjects in memory
        (:func:`~miscnn.data_loading.new_subjects.find_subjects`).
    data_io : DataIO
        The data set.
    make_engine : callable
        Returns what predicts one subject.
    options : PredictionOptions, optional
    postprocessing : PostProcessing, optional
        What is done to label maps.
    identity : callable
        Returns, as JSON values, what a manifest tells of the model and of how it predicts.
    notes : mapping, optional
        What it tells besides.

    Returns
    -------
    list or None
        In the order asked for: an array each, or with several outputs a dictionary of them.
        None if files were written.

    Raises
    ------
    ConfigurationError
        If indices and subjects in memory stand in one list and nothing is to be returned, or
        the folder holds predictions of another model and these are to stay.
    MissingFileError
        If a text is neither a path nor a subject, or there are no subjects in a folder.
    PredictionError
        If some of several subjects could not be predicted; the others are.
    """
    options = PredictionOptions() if options is None else options
    trained = data_io
    data_io, subjects = find_subjects(given, data_io)
    in_memory = [not isinstance(s, str) for s in subjects]
    if not all(in_memory):  # samples may say otherwise
        options.check_axes(data_io.interface.three_dim)
    if any(in_memory) and not all(in_memory) and not options.return_output:
        raise ConfigurationError(
            "indices and arrays in one list: ask for return_output=True, or predict them apart"
        )
    keep = options.return_output or any(in_memory)
    folder = Path(data_io.output_path if options.output_path is None else options.output_path)
    ledger = None
    if not keep:
        if folder.is_dir():
            remove_leftovers(folder)
        ledger = Ledger(folder, identity(), not options.overwrite, notes)
        plan = planned(subjects, data_io, trained, options, ledger)
    else:
        plan = Plan(list(enumerate(subjects)))
    if len(subjects) == 1:  # there are no others that would have to wait
        options = replace(options, on_error="raise")
    run = _Run(
        data_io=data_io,
        engine=make_engine(),
        options=options,
        postprocessing=postprocessing,
        scratch=Scratch(_scratch_folder(options.scratch_path, None if keep else folder)),
        ledger=ledger,
        results=[None] * len(subjects),
        targets=plan.targets,
    )
    run.all(plan)
    written = list(dict.fromkeys(run.written))
    if ledger is not None and written:
        ledger.completed(written, data_io.complete_predictions(written, options.output_path))
        ledger.close()
    if run.failures:
        raise PredictionError(run.failures, len(subjects), run.results if keep else None)
    return run.results if keep else None


def predict_in_memory(
    sample: Sample,
    engine: Engine,
    activation_output: bool = False,
    postprocessing: PostProcessing | None = None,
) -> NDArray[Any]:
    """Predict one sample; return a label map, or probabilities ``(…, channels)``."""
    check_finite(sample)
    wanted = "probabilities" if activation_output else "labels"
    prepared = engine.prepare(sample)
    result = Collector(engine, sample.geometry.shape, [wanted]).collect(prepared)[wanted]
    if postprocessing is not None and not activation_output:
        postprocess(result, sample, postprocessing)
    return result


def postprocess(labels: NDArray[Any], sample: Sample, steps: PostProcessing) -> None:
    """Do the steps on a label map of a sample's image, in place."""
    check_label_map(labels, sample.geometry)
    steps.edit(labels, sample.geometry)


@dataclass
class _Run:
    """The subjects of one call: at any time one is read, one predicted and one written."""

    data_io: DataIO
    engine: Engine
    options: PredictionOptions
    postprocessing: PostProcessing | None
    scratch: Scratch
    ledger: Ledger | None
    results: list[Any]
    failures: dict[str, Exception] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    targets: Sequence[Path] = ()
    sources: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def all(self, plan: Plan) -> None:
        todo = plan.todo
        if plan.there:
            there = set(map(subject_of, plan.there)) - {subject_of(_name(s)) for _, s in todo}
            _log.info(
                "%d of %d subjects are predicted already", len(plan.there),
                len(plan.there) + len(todo) + len(plan.refused), extra={"there": len(there)},
            )  # fmt: skip
        for refused in plan.refused:
            self.failed(*refused)
        reader = ThreadPoolExecutor(1, thread_name_prefix="miscnn-read")
        writer = ThreadPoolExecutor(1, thread_name_prefix="miscnn-write")
        bar = tqdm(
            total=len(todo), desc="predicting", unit="sample", disable=not self.options.verbose
        )
        try:
            with bar:
                self.overlapped(todo, reader, writer, bar)
        finally:
            # What is being read comes to its end, and what was predicted is written; nothing new
            # begins.
            reader.shutdown(cancel_futures=True)
            writer.shutdown()
            if self.ledger is not None:
                # What is put together of slices in the end may be written yet.
                self.ledger.write() if self.written else self.ledger.close()

    def overlapped(
        self,
        todo: Sequence[tuple[int, Subject]],
        reader: ThreadPoolExecutor,
        writer: ThreadPoolExecutor,
        bar: Any,
    ) -> None:
        coming = [reader.submit(self.read, subject) for _, subject in todo[:1]]
        behind: tuple[tuple[int, Subject], Future[None]] | None = None
        for position, (number, subject) in enumerate(todo):
            predicted = None
            try:
                # Taken out, so that nothing holds the subject any longer than it is needed.
                ready = coming.pop().result()
            except Exception as error:
                self.failed(number, subject, error)
                ready = None
            coming = [
                reader.submit(self.read, following)
                for _, following in todo[position + 1 : position + 2]
            ]
            if ready is not None:
                try:
                    predicted = self.predict(*ready)
                except Exception as error:
                    self.failed(number, subject, error)
                del ready
            if behind is not None:
                self.wait(*behind, bar)
                behind = None
            if predicted is None:
                bar.update()
                continue
            behind = (number, subject), writer.submit(self.finish, number, *predicted)
            del predicted
        if behind is not None:
            self.wait(*behind, bar)

    def wait(self, who: tuple[int, Subject], future: Future[None], bar: Any) -> None:
        try:
            future.result()
        except Exception as error:
            self.failed(*who, error)
        bar.update()

    def read(self, subject: Subject) -> tuple[Sample, Any]:
        if self.ledger is not None and isinstance(subject, str):
            # Before it is read: what changes meanwhile is told from what was read.
            self.sources[subject] = sources_of(subject, self.data_io.interface)
        sample = load_subject(subject, self.data_io, self.scratch)
        if not isinstance(subject, str):  # the loader has looked at those that it reads
            check_finite(sample)
        return sample, self.engine.prepare(sample)

    def predict(self, sample: Sample, prepared: Any) -> tuple[Sample, dict[str, NDArray[Any]]]:
        shape = sample.geometry.shape
        roi = self.options.roi
        box = None if roi is None else as_box(roi, shape, sample.index)
        # What is returned is the caller's: ordinary arrays.
        scratch = None if self.ledger is None else self.scratch
        collector = Collector(self.engine, shape, self.options.arrays, scratch, box)
        return sample, collector.collect(prepared)

    def finish(self, number: int, sample: Sample, arrays: dict[str, NDArray[Any]]) -> None:
        """Post-process, count, and write or keep what was predicted."""
        if "labels" in arrays and self.postprocessing is not None:
            postprocess(arrays["labels"], sample, self.postprocessing)
        found: dict[str, Any] = {}
        for output in self.options.outputs:
            if output == "volumes":
                found[output] = self.volumes(sample, arrays["labels"])
            elif output == LABELS and self.options.activation_output:
                found[output] = arrays["probabilities"]
            else:
                found[output] = arrays[output]
        if self.ledger is None:
            self.results[number] = found if len(found) > 1 else next(iter(found.values()))
            return
        if not self.written:
            self.ledger.begin(self.targets)
        files: dict[str, Path] = {}
        for kind, value in found.items():
            if kind != "volumes":
                path = self.save(sample, kind, value)
                if path is not None:
                    files[kind] = path
        sources = self.sources.pop(sample.index, ())
        rows = [
            (index, label, self.value_of(label), *rest)
            for index, label, *rest in found.get("volumes", ())
        ]
        self.ledger.add(sample.index, files, rows, sources)
        self.written.append(sample.index)

    def save(self, sample: Sample, output: str, value: NDArray[Any]) -> Path | None:
        result = sample.copy()
        result.add_prediction(value, activation_output=True)  # as it is
        name = None if output == LABELS else output
        return self.data_io.save_prediction(result, self.options.output_path, name)

    def value_of(self, label: int) -> int:
        """Return the value that stands for a class in the label map that is written."""
        mapping = self.data_io.interface.mapping
        return label if mapping is None else mapping.values[label]

    def volumes(self, sample: Sample, labels: NDArray[Any]) -> list[Row]:
        interface = self.data_io.interface
        names = interface.class_names or [f"class-{k}" for k in range(interface.classes)]
        return volume_rows(sample.index, labels, sample.geometry, names)

    def failed(self, number: int, subject: Subject, error: Exception) -> None:
        if self.options.on_error == "raise":
            raise error
        name = _name(subject)
        if name in self.failures:
            name = f"{name} (subject {number + 1})"
        # An error that is none of this library's may be one of its code: with the place.
        own = isinstance(error, MiscnnError)
        _log.warning(
            "sample %r could not be predicted: %s",
            name, reason_of(error, name), exc_info=None if own else error,
        )  # fmt: skip
        self.failures[name] = _without_frames(error)


def volume_rows(
    index: str, labels: NDArray[Any], geometry: Geometry, names: Sequence[str]
) -> list[Row]:
    """Return the volume of each foreground class: index, class, name, voxels, millilitres.

    A 2D image has areas only: None in place of millilitres.
    """
    counts = count_voxels(labels, len(names))
    ml = geometry.voxel_volume * _ML if geometry.ndim == 3 else None
    return [
        (index, label, names[label], n, None if ml is None else n * ml)
        for label, n in enumerate(counts)
        if label > 0
    ]


def check_finite(sample: Sample) -> None:
    """Raise SampleError if the image holds NaN or infinite values."""
    odd = non_finite(sample.image)
    if odd is not None:
        raise SampleError(
            sample.index, f"{odd[0]} image values are NaN or infinite, the first at {odd[1]}"
        )


def _name(subject: Subject) -> str:
    if isinstance(subject, Sample):
        return subject.index
    return subject if isinstance(subject, str) else "array"


def _scratch_folder(given: str | Path | None, output: Path | None) -> str | Path | None:
    """Return where scratch files go: where there is room for the results, if it is known."""
    if given is not None or output is None:
        return given
    parents: Iterable[Path] = output.resolve().parents
    nearest = next(parent for parent in parents if parent.is_dir())
    return nearest if os.access(nearest, os.W_OK) else None


def _without_frames(error: Exception) -> Exception:
    """Let an error go without the frames, which hold images, that it came through."""
    held: BaseException | None = error
    seen: set[int] = set()
    while held is not None and id(held) not in seen:
        seen.add(id(held))
        held.__traceback__ = None
        held = held.__cause__ or held.__context__
    return error
