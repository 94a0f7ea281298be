"""check_subfunction finds what it is there to find."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ContractError, MiscnnError, NotFittedError, SampleError
from miscnn.processing.blocks import Block
from miscnn.processing.subfunctions import Padding, Resampling, Subfunction
from miscnn.testing import check_subfunction


class Good(Subfunction):
    """Adds a number; in the style of MIScnn 1.x, on the sample handed in."""

    def __init__(self, number=1.0):
        self.number = number

    def preprocessing(self, sample, training=True):
        sample.img_data = sample.img_data + np.float32(self.number)


class Cut(Subfunction):
    """Drops the first two voxels of the first axis, and fills them in again."""

    def preprocessing(self, sample, training=True):
        result = sample.copy()
        shape = (sample.geometry.shape[0] - 2, *sample.geometry.shape[1:])
        result.geometry = sample.geometry.cropped((2, *(0 for _ in shape[1:])), shape)
        result.image = sample.image[2:]
        if sample.segmentation is not None:
            result.segmentation = sample.segmentation[2:]
        return result

    def postprocessing(self, sample, prediction, activation_output=False):
        back = np.zeros((*sample.geometry.shape, *prediction.shape[sample.geometry.ndim :]))
        if activation_output:
            back[..., 0] = 1
        back[2:] = prediction
        return back.astype(prediction.dtype)


class WritesInPlace(Good):
    def preprocessing(self, sample, training=True):
        sample.img_data += np.float32(self.number)


class ChangesTheHandedSampleToo(Good):
    def preprocessing(self, sample, training=True):
        result = sample.copy()
        sample.image = result.image = sample.image + np.float32(1)
        return result


class ForgetsItsArgument(Good):
    def __init__(self, number=1.0):
        self.value = number


class ChangesItsArgument(Good):
    def __init__(self, number=1.0):
        self.number = number + 1


class HoldsWhatJsonCannot(Good):
    def __init__(self, number=np.sum):
        self.number = number


class FloatOfSixtyFour(Good):
    def preprocessing(self, sample, training=True):
        sample.image = sample.image.astype(np.float64)


class DividesByZero(Good):
    def preprocessing(self, sample, training=True):
        sample.image = np.where(sample.image > 0, np.float32(np.nan), sample.image)


class ForgetsTheGeometry(Cut):
    def preprocessing(self, sample, training=True):
        result = super().preprocessing(sample, training)
        result.geometry = sample.geometry
        return result


class WrongPlace(Cut):
    def preprocessing(self, sample, training=True):
        result = super().preprocessing(sample, training)
        start = (9,) * sample.geometry.ndim
        result.geometry = sample.geometry.cropped(start, result.geometry.shape)
        return result


class FlipsUnseen(Subfunction):
    def preprocessing(self, sample, training=True):
        result = sample.copy()
        result.image = sample.image[::-1]
        if sample.segmentation is not None:
            result.segmentation = sample.segmentation[::-1]
        return result

    def postprocessing(self, sample, prediction, activation_output=False):
        return prediction[::-1]


class BlendsLabels(Good):
    def preprocessing(self, sample, training=True):
        if sample.segmentation is not None:
            sample.segmentation = sample.segmentation * np.uint8(2)


class SignedLabels(Good):
    def preprocessing(self, sample, training=True):
        if sample.segmentation is not None:
            sample.segmentation = sample.segmentation.astype(np.int64)


class OtherGridInPrediction(Cut):
    def preprocessing(self, sample, training=True):
        return super().preprocessing(sample, training) if training else sample.copy()


class NoWayBack(Cut):
    def postprocessing(self, sample, prediction, activation_output=False):
        return prediction


class FillsWithZeros(Cut):
    def postprocessing(self, sample, prediction, activation_output=False):
        back = super().postprocessing(sample, prediction, activation_output)
        back[:2] = 0
        return back


class NegativeProbabilities(Good):
    def postprocessing(self, sample, prediction, activation_output=False):
        return prediction - 0.1 if activation_output else prediction


class ReadsTheImageOnTheWayBack(Cut):
    def postprocessing(self, sample, prediction, activation_output=False):
        return np.zeros(sample.image.shape[:-1], np.uint8)


class WritesIntoThePrediction(Good):
    def postprocessing(self, sample, prediction, activation_output=False):
        prediction[...] = 0
        return prediction


class ChangesPredictions(Good):
    def postprocessing(self, sample, prediction, activation_output=False):
        return prediction if activation_output else np.minimum(prediction, 1)


class InventsLabels(Cut):
    def postprocessing(self, sample, prediction, activation_output=False):
        back = super().postprocessing(sample, prediction, activation_output)
        if not activation_output:
            back[:2] = 77
        return back


class MisplacesOnTheWayBack(Cut):
    def postprocessing(self, sample, prediction, activation_output=False):
        back = super().postprocessing(sample, prediction, activation_output)
        return np.roll(back, 7, axis=0)


class KeepsOnItself(Cut):
    """Cuts as many voxels as the sample says, and remembers it itself."""

    def preprocessing(self, sample, training=True):
        self.missing = sample.geometry.shape[0]
        return super().preprocessing(sample, training)

    def postprocessing(self, sample, prediction, activation_output=False):
        before = sample.copy()
        before.geometry = sample.geometry.resized((self.missing, *sample.geometry.shape[1:]))
        return super().postprocessing(before, prediction, activation_output)


class RemembersWhatItSaw(Cut):
    seen = 0

    def preprocessing(self, sample, training=True):
        self.seen = 1
        return super().preprocessing(sample, training)

    def postprocessing(self, sample, prediction, activation_output=False):
        back = super().postprocessing(sample, prediction, activation_output)
        return back if self.seen or activation_output else np.zeros_like(back)


class FollowsTheGeometry(Cut):
    follows_geometry = True


class LooksElsewhere(Resampling):
    """Takes half of what lies at the other end."""

    follows_geometry = True

    def postprocessing(self, sample, prediction, activation_output=False):
        back = super().postprocessing(sample, prediction, activation_output)
        if activation_output:
            return (back + back[::-1]) / 2
        return back


class CutInBlocks(Cut):
    def postprocessing_blocks(self, sample, parts):
        offset = (2, *(0 for _ in parts.covered[1:]))
        return parts.moved(offset, sample.geometry.shape)


class MisplacesBlocks(Cut):
    def postprocessing_blocks(self, sample, parts):
        return parts.moved([0] * len(parts.covered), sample.geometry.shape)


class LosesBlocks(CutInBlocks):
    def postprocessing_blocks(self, sample, parts):
        taken = super().postprocessing_blocks(sample, parts)
        return dataclasses.replace(taken, blocks=itertools.islice(taken.blocks, 1, None))


class ChangesBlocks(CutInBlocks):
    def postprocessing_blocks(self, sample, parts):
        taken = super().postprocessing_blocks(sample, parts)
        blocks = (Block(b.start, b.values // 2 * 2) for b in taken.blocks)
        return dataclasses.replace(taken, blocks=blocks)


class Fitted(Good):
    needs_fit = True

    def __init__(self, number=1.0):
        self.number = number
        self.mean = None

    def fit(self, samples, rng):
        self.mean = float(samples[int(rng.integers(len(samples)))].image.mean())
        return self

    def get_state(self):
        return {} if self.mean is None else {"mean": self.mean}

    def set_state(self, state):
        self.mean = state["mean"]

    def preprocessing(self, sample, training=True):
        if self.mean is None:
            raise NotFittedError("fit first")
        sample.image = sample.image - np.float32(self.mean)


class RunsUnfitted(Fitted):
    def preprocessing(self, sample, training=True):
        sample.image = sample.image - np.float32(self.mean or 0)


class LearnsNothing(Fitted):
    def get_state(self):
        return {}


class LearnsByChance(Fitted):
    def fit(self, samples, rng):
        self.mean = float(np.random.default_rng().random())
        return self


class LosesItsState(Fitted):
    def set_state(self, state):
        self.mean = 0.0


class RefusesAll(Good):
    def preprocessing(self, sample, training=True):
        raise SampleError(sample.index, "not to my taste")


@pytest.mark.parametrize(
    "part", [Good(), Cut(), FollowsTheGeometry(), Fitted()], ids=lambda p: type(p).__name__
)
def test_good_ones_pass_and_are_left_as_they_are(part):
    check_subfunction(part)
    assert part.get_state() == {}


def test_blocks_that_come_back_as_the_whole_does_pass():
    check_subfunction(CutInBlocks())


def test_blocks_of_a_class_whose_way_back_was_changed_are_not_asked_for():
    class Elsewhere(Padding):
        def postprocessing(self, sample, prediction, activation_output=False):
            back = super().postprocessing(sample, prediction, activation_output)
            return np.ascontiguousarray(back)

        def postprocessing_blocks(self, sample, parts):
            raise AssertionError("not to be called")

    class Changed(Elsewhere):
        def postprocessing(self, sample, prediction, activation_output=False):
            return super().postprocessing(sample, prediction, activation_output)

    check_subfunction(Changed(32))


@pytest.mark.parametrize(
    ("part", "promise"),
    [
        (WritesInPlace(), "wrote into the image"),
        (ChangesTheHandedSampleToo(), "changed the one handed in"),
        (ForgetsItsArgument(), "no attribute 'number'.*under its own name"),
        (ChangesItsArgument(), "another configuration"),
        (HoldsWhatJsonCannot(), "as JSON"),
        (FloatOfSixtyFour(), "float64, not float32"),
        (DividesByZero(), "NaN or infinity"),
        (ForgetsTheGeometry(), "set sample.geometry"),
        (WrongPlace(), "moved the foreground by"),
        (FlipsUnseen(), "moved the foreground by"),
        (BlendsLabels(), r"not there before: \[4\]"),
        (SignedLabels(), "int64, not unsigned"),
        (OtherGridInPrediction(), "different grids"),
        (NoWayBack(), "postprocessing.. returned a label map of shape"),
        (FillsWithZeros(), "sums that are off by 1"),
        (NegativeProbabilities(), "negative"),
        (WritesIntoThePrediction(), "wrote into the prediction"),
        (ChangesPredictions(), "came back changed"),
        (InventsLabels(), r"not there before: \[77\]"),
        (MisplacesOnTheWayBack(), "must undo preprocessing"),
        (MisplacesBlocks(), "other by postprocessing_blocks"),
        (LosesBlocks(), "each voxel of the box.*once"),
        (ChangesBlocks(), "other by postprocessing_blocks"),
        (KeepsOnItself(), "no attribute 'missing'.*goes into sample.extended"),
        (RemembersWhatItSaw(), "takes predictions back otherwise.*goes into sample.extended"),
        (LooksElsewhere((2.0, 1.0, 3.0)), "leave follows_geometry False"),
        (RunsUnfitted(), "did not raise NotFittedError"),
        (LearnsNothing(), "get_state.. is empty"),
        (LearnsByChance(), "learned something else"),
        (LosesItsState(), "another configuration or state"),
        (RefusesAll(), "refuses every made sample.*not to my taste"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Subfunction) else "",
)
def test_broken_promises_are_named(part, promise):
    with pytest.raises(ContractError, match=promise) as caught:
        check_subfunction(part)
    assert type(part).__name__ in str(caught.value)
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, MiscnnError)


def test_the_way_back_gets_no_arrays():
    with pytest.raises(AttributeError):
        check_subfunction(ReadsTheImageOnTheWayBack())


def test_a_sample_of_ones_own():
    sample = Sample("own", np.ones((4, 5, 6, 1), np.float32), geometry=Geometry((4, 5, 6)))
    check_subfunction(Resampling((2, 1, 1)), sample)
    with pytest.raises(SampleError, match="'own'"):
        check_subfunction(Resampling((2, 1)), sample)


def test_labels_that_are_merged_are_no_broken_promise():
    class Merges(Good):
        restores_probabilities = False

        def preprocessing(self, sample, training=True):
            if sample.segmentation is not None:
                sample.segmentation = np.where(sample.segmentation == 1, 0, sample.segmentation)

    check_subfunction(Merges())


def test_it_can_be_imported_without_keras():
    code = (
        "import sys; from miscnn.testing import check_subfunction; "
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
