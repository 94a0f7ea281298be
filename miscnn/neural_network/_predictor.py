"""What predicts subjects: one network, or several that predict as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.neural_network._assigned import as_postprocessing, as_settings
from miscnn.neural_network._engine import Engine
from miscnn.neural_network._identity import call_identity
from miscnn.neural_network._outputs import Output, apart
from miscnn.neural_network._roi import RegionOfInterest
from miscnn.neural_network.prediction import (
    OnError,
    PredictionOptions,
    Subjects,
    predict_in_memory,
    predict_subjects,
)
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import PostProcessing, PostProcessingStep
from miscnn.processing.preprocessor import Preprocessor


class Predictor:
    """The part of a network, and of ensembles, that predicts."""

    preprocessor: Preprocessor
    _postprocessing: PostProcessing | None

    def _engine(
        self, settings: PredictionSettings | None = None, roi: RegionOfInterest | None = None
    ) -> Engine:
        """Return what predicts one subject after the other."""
        raise NotImplementedError

    def _identity(self, settings: PredictionSettings | None = None) -> Any:
        """Describe, as JSON values, what predictions depend on."""
        raise NotImplementedError

    def _settings(self, given: Any) -> PredictionSettings | None:
        """Return the settings of one call; None: each network has its own."""
        return None if given is None else as_settings(given, "settings")

    @property
    def postprocessing(self) -> PostProcessing | None:
        """What is done to finished label maps; a step, or a list of steps, may be given, too."""
        return self._postprocessing

    @postprocessing.setter
    def postprocessing(
        self, value: PostProcessing | PostProcessingStep | Sequence[PostProcessingStep] | None
    ) -> None:
        self._postprocessing = as_postprocessing(value)

    def predict(
        self,
        sample_list: Subjects,
        return_output: bool = False,
        activation_output: bool = False,
        output_path: str | Path | None = None,
        verbose: int = 1,
        *,
        settings: PredictionSettings | None = None,
        roi: RegionOfInterest | None = None,
        outputs: Sequence[Output] = ("labels",),
        overwrite: bool = True,
        on_error: OnError = "continue",
        scratch_path: str | Path | None = None,
    ) -> list[Any] | None:
        """Predict subjects on the grids of their images.

        What the memory holds does not depend on how many slices an image has, and hardly on the
        number of classes: whatever is large lies in files without a name. The next subject is
        read and the previous one is written while the network works on one.

        Parameters
        ----------
        sample_list : list of str, path, Sample or ndarray, or a list of them
            Indices of the data set (also such that came after its construction), files or
            folders of images, or subjects in memory. No segmentations are needed.
        return_output : bool
            Return arrays instead of writing files. Subjects in memory are always returned.
        activation_output : bool
            Probabilities ``(…, classes)`` (of regions: ``(…, regions)``) float32 instead of
            label maps.
        output_path : path, optional
            Folder for the files. Default: the data set's ``output_path``.
        verbose : int
            0 shows no progress bar.
        settings : PredictionSettings, optional
            Default: the network's :attr:`~NeuralNetwork.prediction`; of several networks each has
            its own.
        roi : sequence of pairs of int, optional
            ``(start, stop)`` per axis in voxels of the image: only this box is predicted, outside
            of it is background. Networks of patches see what lies around it.
        outputs : sequence of {"labels", "probabilities", "entropy", "volumes"}
            Several from one pass. "labels" is the file of the subject; "probabilities" float32,
            and "entropy" in nats (of classes −Σ p ln p; of regions the sum of the entropies of
            their yes and no), have files of their own, such as ``case_1_entropy.nii.gz``.
            "volumes" is a table, ``volumes.tsv``, of the millilitres of each class.
        overwrite : bool
            False leaves out subjects whose outputs are all there, as ``predictions.json`` in the
            folder says: a run that was interrupted goes on. A folder of another model, or of other
            settings, is refused.
        on_error : {"continue", "raise"}
            Whether the others are predicted where one of several subjects cannot be.
        scratch_path : path, optional
            Folder for what is too large for the memory. Default: where the output folder lies, if
            that can be written to; else the system's folder for temporary files.

        Returns
        -------
        list or None
            In the order asked for: an array each; a dictionary by name with several ``outputs``
            (volumes as rows of index, class, name, voxels and millilitres). None if files were
            written.

        Raises
        ------
        PredictionError
            After all the others were predicted, if some of several subjects could not be; it
            tells why.
        ConfigurationError
            With ``overwrite=False``, if the folder is of another model; and for what cannot be.
        """
        options = PredictionOptions(
            return_output, activation_output, output_path, verbose, outputs, overwrite, on_error,
            scratch_path, roi,
        )  # fmt: skip
        settings = self._settings(settings)
        results = predict_subjects(
            sample_list,
            self.preprocessor.data,
            lambda: self._engine(settings, options.roi),
            options,
            postprocessing=self.postprocessing,
            identity=lambda: {
                "model": self._identity(settings),
                **call_identity(
                    settings,
                    options.roi,
                    activation_output,
                    self.postprocessing,
                    self.preprocessor.data.interface,
                ),
            },
            notes={"bundle": getattr(self, "bundle_digest", None)},
        )
        return apart(results)

    def predict_sample(self, sample: Sample, activation_output: bool = False) -> NDArray[Any]:
        """Predict one sample in memory; return a label map, or probabilities ``(…, classes)``."""
        return predict_in_memory(sample, self._engine(), activation_output, self.postprocessing)
