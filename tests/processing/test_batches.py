"""Batches: what they hold, and that they repeat."""

from __future__ import annotations

import inspect
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import miscnn
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, NotFittedError
from miscnn.processing.augmentation import GeneralAugmentation
from miscnn.processing.batches import BatchMaker, one_hot
from miscnn.processing.stored_batches import StoredBatches
from miscnn.processing.subfunctions import (
    Normalization,
    Resampling,
    Subfunction,
    TransformHU,
)

MIXED = [(20, 18, 12), (14, 25, 9), (30, 10, 16)]


def recipe(data_io: miscnn.DataIO, **options) -> miscnn.Preprocessor:
    options.setdefault("data_aug", None)
    options.setdefault("patch_shape", (12, 12, 12))
    return miscnn.Preprocessor(data_io, options.pop("batch_size", 2), **options)


def all_batches(maker: BatchMaker, epoch: int = 0):
    return [maker.batch(epoch, number) for number in range(len(maker))]


def test_one_hot() -> None:
    encoded = one_hot(np.array([[0, 2], [1, 1]], np.uint8), 3)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, np.eye(3)[[[0, 2], [1, 1]]])


def test_patches_are_cut_from_the_volumes(make_data_io) -> None:
    """Every patch stands somewhere in its volume, with the labels of the same place."""
    data_io = make_data_io([(16, 16, 16)])
    maker = BatchMaker(recipe(data_io, patch_shape=(8, 8, 8)), ["s0"], training=True)
    volume = data_io.sample_loader("s0")
    windows = np.lib.stride_tricks.sliding_window_view(volume.image[..., 0], (8, 8, 8))
    labels = np.lib.stride_tricks.sliding_window_view(volume.segmentation[..., 0], (8, 8, 8))
    starts = set()
    for epoch in range(10):
        images, encoded = maker.batch(epoch, 0)
        for image, label in zip(images, encoded, strict=True):
            found = np.argwhere((windows == image[..., 0]).all(axis=(3, 4, 5)))
            assert len(found) == 1
            starts.add(tuple(found[0]))
            np.testing.assert_array_equal(labels[tuple(found[0])], label.argmax(-1))
    assert len(starts) > 10


def test_volumes_smaller_than_the_patch_are_padded_with_their_minimum(make_data_io) -> None:
    data_io = make_data_io([(14, 25, 9)])
    maker = BatchMaker(recipe(data_io, batch_size=1), ["s0"], training=True)
    image, labels = maker.batch(0, 0)
    assert image.shape == (1, 12, 12, 12, 1)
    volume = data_io.sample_loader("s0")
    outside = image[0, :, :, [0, 10, 11], 0]
    np.testing.assert_array_equal(outside, volume.image.min())
    np.testing.assert_array_equal(labels[0, :, :, [0, 10, 11], 0], 1.0)


def test_every_sample_once_an_epoch_in_changing_order(make_data_io) -> None:
    data_io = make_data_io([(8, 8, 8)] * 6)
    single = recipe(data_io, batch_size=1, patch_shape=(8, 8, 8))
    maker = BatchMaker(single, data_io.indices_list, True)
    volumes = {i: data_io.sample_loader(i).image for i in data_io.indices_list}

    def order(epoch: int) -> list[str]:
        return [
            next(i for i, v in volumes.items() if np.array_equal(v, image[0]))
            for image, _ in all_batches(maker, epoch)
        ]

    orders = [order(epoch) for epoch in range(4)]
    assert all(sorted(o) == data_io.indices_list for o in orders)
    assert len({tuple(o) for o in orders}) > 1


def test_training_batches_are_filled_up_and_validation_batches_are_not(make_data_io) -> None:
    data_io = make_data_io([(12, 12, 12)] * 3)
    training = all_batches(BatchMaker(recipe(data_io), data_io.indices_list, True))
    validation = all_batches(BatchMaker(recipe(data_io), data_io.indices_list, False))
    assert [len(image) for image, _ in training] == [2, 2]
    assert [len(image) for image, _ in validation] == [2, 1]


def test_validation_batches_are_the_same_every_epoch_and_not_augmented(make_data_io) -> None:
    data_io = make_data_io(MIXED)
    augmented = recipe(data_io, data_aug=GeneralAugmentation())
    maker = BatchMaker(augmented, data_io.indices_list, training=False)
    plain = BatchMaker(recipe(data_io), data_io.indices_list, training=False)
    for (a, _), (b, _), (c, _) in zip(
        all_batches(maker, 0), all_batches(maker, 7), all_batches(plain, 0), strict=True
    ):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_threads_and_order_do_not_change_batches(make_data_io) -> None:
    data_io = make_data_io(MIXED)
    maker = BatchMaker(
        recipe(data_io, data_aug=GeneralAugmentation(), seed=3), data_io.indices_list, True
    )
    jobs = list(itertools.product(range(3), range(2)))
    expected = [maker.batch(*job) for job in jobs]
    np.random.seed(1)  # noqa: NPY002  # the global state must not matter
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: maker.batch(*job), reversed(jobs)))
    for (image, label), (image2, label2) in zip(expected, reversed(found), strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(label, label2)
    other = BatchMaker(
        recipe(data_io, data_aug=GeneralAugmentation(), seed=4), data_io.indices_list, True
    )
    assert not np.array_equal(other.batch(0, 0)[0], expected[0][0])


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_disk_and_memory_give_the_same_batches(make_data_io, cache: str) -> None:
    data_io = make_data_io(MIXED, channels=2)
    chain = [Resampling((1.5, 1.2, 0.8)), Normalization("z-score")]
    maker = BatchMaker(recipe(data_io, subfunctions=chain, cache=cache), data_io.indices_list, True)
    images, labels = maker.batch(0, 1)
    # What the whole image gives, cut afterwards, is what the patch gives.
    wholes = []
    for index in data_io.indices_list:
        sample = data_io.sample_loader(index)
        for subfunction in chain:
            sample = subfunction.preprocessing(sample.copy(), True)
        wholes.append(sample.image)
    inside = images[0][..., 0]
    candidates = [
        np.lib.stride_tricks.sliding_window_view(w[..., 0], (4, 4, 4)).reshape(-1, 64)
        for w in wholes
        if min(w.shape[:3]) >= 4
    ]
    piece = inside[4:8, 4:8, 4:8].ravel()
    assert any(np.isclose(c, piece, atol=1e-5).all(axis=1).any() for c in candidates)
    assert labels.shape == (2, 12, 12, 12, 2)


def test_grid_visits_every_cell(make_data_io) -> None:
    data_io = make_data_io([(16, 8, 8)])
    grid = recipe(
        data_io, analysis="patchwise-grid", patch_shape=(8, 8, 8), patchwise_overlap=(4, 0, 0)
    )
    maker = BatchMaker(grid, ["s0"], training=False)
    assert maker.n_items == 3
    image = data_io.sample_loader("s0").image
    patches = np.concatenate([b for b, _ in all_batches(maker)])
    for start, patch in zip((0, 4, 8), patches, strict=True):
        np.testing.assert_array_equal(patch, image[start : start + 8])


@pytest.mark.parametrize("analysis", ["patchwise-grid", "patchwise-crop", "slicewise"])
def test_blank_patches_are_skipped(make_data_io, analysis: str) -> None:
    data_io = make_data_io([(16, 16, 16)], spacing=(1, 1, 2))
    options = {"analysis": analysis, "patchwise_skip_blanks": True, "batch_size": 1}
    if analysis == "slicewise":
        options["patch_shape"] = None
    else:
        options["patch_shape"] = (4, 4, 4)
    maker = BatchMaker(recipe(data_io, **options), ["s0"], training=True)
    for epoch in range(10):
        for _, labels in all_batches(maker, epoch):
            assert labels[..., 1].any()
    if analysis == "slicewise":
        assert maker.n_items == 4
    elif analysis == "patchwise-grid":
        assert maker.n_items == 1


def test_nothing_but_blanks_is_an_error(make_data_io) -> None:
    data_io = make_data_io([(8, 8, 8)])
    blank = recipe(
        data_io,
        analysis="patchwise-grid",
        patch_shape=(8, 8, 8),
        patchwise_skip_blanks=True,
        patchwise_skip_class=0,
    )
    image, label, *rest = data_io.interface.dictionary["s0"]
    data_io.interface.dictionary["s0"] = (image, np.zeros_like(label), *rest)
    with pytest.raises(ConfigurationError, match="blank"):
        BatchMaker(blank, ["s0"], training=True)


def test_foreground_oversampling(make_data_io) -> None:
    """A single labelled voxel lies in every patch that is forced to show it."""
    data_io = make_data_io([(40, 40, 40)], classes=3)
    image, _, *rest = data_io.interface.dictionary["s0"]
    label = np.zeros((40, 40, 40), np.uint8)
    label[33, 5, 20] = 2
    data_io.interface.dictionary["s0"] = (image, label, *rest)

    def share(oversampling: float) -> float:
        maker = BatchMaker(
            recipe(data_io, patch_shape=(8, 8, 8), foreground_oversampling=oversampling),
            ["s0"],
            True,
        )
        hits = [maker.batch(e, 0)[1][..., 2].any(axis=(1, 2, 3)) for e in range(60)]
        return float(np.mean(hits))

    assert share(1.0) == 1.0
    assert share(0.0) < 0.1
    assert 0.2 < share(1 / 3) < 0.5


def test_slices_run_across_the_slice_axis_of_each_volume(make_data_io) -> None:
    data_io = make_data_io([(5, 9, 8)], spacing=(4.0, 1.0, 1.0))
    slices = recipe(data_io, analysis="slicewise", patch_shape=None, batch_size=5)
    maker = BatchMaker(slices, ["s0"], training=False)
    images, labels = maker.batch(0, 0)
    np.testing.assert_array_equal(images, data_io.sample_loader("s0").image)
    assert labels.shape == (5, 9, 8, 2)


def test_whole_images_of_mixed_size_are_padded_to_one_shape(make_data_io) -> None:
    data_io = make_data_io(MIXED)
    whole = recipe(data_io, analysis="fullimage", batch_size=3)
    maker = BatchMaker(whole, data_io.indices_list, False, multiple=(8, 8, 8))
    images, _ = maker.batch(0, 0)
    assert images.shape == (3, 32, 32, 16, 1)
    first = data_io.sample_loader("s0").image
    np.testing.assert_array_equal(images[0, 6:26, 7:25, 2:14], first)


def test_patches_are_rounded_up_to_what_the_network_needs(make_data_io) -> None:
    data_io = make_data_io([(20, 18, 12)])
    maker = BatchMaker(recipe(data_io, patch_shape=(10, 8, 3)), ["s0"], True, multiple=(4, 4, 4))
    assert maker.batch(0, 0)[0].shape == (2, 12, 8, 4, 1)


def test_two_dimensional_images(make_data_io) -> None:
    data_io = make_data_io([(20, 30), (25, 18)])
    images, labels = BatchMaker(recipe(data_io, patch_shape=(8, 8)), ["s0", "s1"], True).batch(0, 0)
    assert images.shape == (2, 8, 8, 1)
    assert labels.shape == (2, 8, 8, 2)


def test_stored_batches_are_reshuffled_and_found_again(make_data_io, tmp_path) -> None:
    data_io = make_data_io([(12, 12, 12)] * 5)
    maker = BatchMaker(recipe(data_io, batch_size=1), data_io.indices_list, True)
    stored = StoredBatches(maker, tmp_path / "stored", seed=0)
    fresh = {maker.batch(0, k)[0].tobytes() for k in range(5)}
    orders = []
    for epoch in range(3):
        batches = [stored.batch(epoch, k)[0].tobytes() for k in range(5)]
        assert set(batches) == fresh
        orders.append(tuple(batches))
    assert len(set(orders)) > 1
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "stored").iterdir()}
    StoredBatches(maker, tmp_path / "stored", seed=0)
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "stored").iterdir()}
    stored.remove()
    assert not (tmp_path / "stored").exists()


def test_statistics_come_from_training_samples_only(make_data_io) -> None:
    data_io = make_data_io([(12, 12, 12)] * 4)
    image, *rest = data_io.interface.dictionary["s3"]
    data_io.interface.dictionary["s3"] = (image + 1000, *rest)
    pp = recipe(data_io, subfunctions=[Normalization("z-score", statistics="dataset")])
    with pytest.raises(NotFittedError):
        BatchMaker(pp, ["s0"], True)
    pp.fit(["s0", "s1"])
    seen = np.concatenate([data_io.sample_loader(i).image.ravel() for i in ("s0", "s1")])
    images, _ = BatchMaker(pp, ["s3"], False).batch(0, 0)
    expected = (data_io.sample_loader("s3").image - seen.mean()) / seen.std()
    np.testing.assert_allclose(images[0], expected, rtol=1e-4, atol=1e-3)


def test_slices_are_those_of_the_scan_after_resampling(make_data_io) -> None:
    """Isotropic voxels leave no trace of the slices, and rounding must not choose them."""
    data_io = make_data_io([(51, 51, 30), (49, 51, 30)], spacing=(0.9, 0.9, 5.0))
    slices = recipe(
        data_io,
        analysis="slicewise",
        patch_shape=None,
        subfunctions=[Resampling((1.5, 1.5, 1.5))],
        batch_size=1,
    )
    maker = BatchMaker(slices, data_io.indices_list, training=False)
    assert maker.n_items == 200
    assert maker.batch(0, 150)[0].shape == (1, 31, 31, 1)
    other = recipe(data_io, analysis="slicewise", patch_shape=None, slice_axis=0)
    assert BatchMaker(other, data_io.indices_list, training=False).n_items == 100


@pytest.mark.parametrize(
    ("patch_shape", "options"),
    [
        ((16, 16), {}),
        ((16, 16, 8, 1), {}),
        ((16, 16, 1), {"analysis": "slicewise"}),
        ((16, 0, 8), {}),
    ],
)
def test_a_patch_shape_that_does_not_fit_is_refused(make_data_io, patch_shape, options) -> None:
    with pytest.raises(ConfigurationError, match="patch_shape must have"):
        recipe(make_data_io([(20, 20, 20)]), patch_shape=patch_shape, **options)


def test_cycles_show_each_sample_more_often(make_data_io) -> None:
    data_io = make_data_io([(12, 12, 12)] * 4)
    augmented = recipe(data_io, data_aug=miscnn.Data_Augmentation(cycles=3))
    assert len(BatchMaker(augmented, data_io.indices_list, True)) == 6
    assert len(BatchMaker(augmented, data_io.indices_list, False)) == 2


class AddNumber(Subfunction):
    """A subfunction of a user's, whose code changes while its name does not."""

    def preprocessing(self, sample: Sample, training: bool = True) -> None:
        sample.image = sample.image + 10


def test_changed_code_of_a_users_part_is_noticed(make_data_io, monkeypatch) -> None:
    data_io = make_data_io([(12, 12, 12)])
    before = BatchMaker(recipe(data_io, subfunctions=[AddNumber()]), ["s0"], False).batch(0, 0)[0]
    source = inspect.getsource(AddNumber)
    monkeypatch.setattr(inspect, "getsource", lambda cls: source.replace("10", "20"))

    def preprocessing(self: AddNumber, sample: Sample, training: bool = True) -> None:
        sample.image = sample.image + 20

    monkeypatch.setattr(AddNumber, "preprocessing", preprocessing)
    after = BatchMaker(recipe(data_io, subfunctions=[AddNumber()]), ["s0"], False).batch(0, 0)[0]
    np.testing.assert_allclose(after, before + 10, atol=1e-5)


def test_details_and_shape_in_memory_are_part_of_the_key(make_data_io) -> None:
    data_io = make_data_io([(8, 8, 4)])
    small = {"patch_shape": (4, 4, 4), "batch_size": 1, "subfunctions": [TransformHU()]}
    BatchMaker(recipe(data_io, **small), ["s0"], False)
    image, label, rest, details = data_io.interface.dictionary["s0"]
    turned = (image.reshape(4, 8, 8, 1), label.reshape(4, 8, 8), rest, details)
    data_io.interface.dictionary["s0"] = turned
    assert recipe(data_io, **small).prepared("s0").image.shape == (4, 8, 8, 1)
    data_io.interface.dictionary["s0"] = (*turned[:3], {**details, "slope": 5.0})
    prepared = recipe(data_io, **small).prepared("s0")
    np.testing.assert_allclose(np.asarray(prepared.image), turned[0] * 5, rtol=1e-5)


def test_a_cache_that_was_deleted_is_made_anew(make_data_io) -> None:
    data_io = make_data_io([(12, 12, 12)])
    pp = recipe(data_io)
    before = BatchMaker(pp, ["s0"], False).batch(0, 0)[0]
    shutil.rmtree(data_io.batch_path)
    np.testing.assert_array_equal(BatchMaker(pp, ["s0"], False).batch(0, 0)[0], before)


def test_a_damaged_stored_batch_is_made_anew(make_data_io, tmp_path) -> None:
    data_io = make_data_io([(12, 12, 12)])
    maker = BatchMaker(recipe(data_io, batch_size=1), ["s0"], True)
    stored = StoredBatches(maker, tmp_path / "stored", seed=0)
    expected = stored.batch(0, 0)[0]
    (tmp_path / "stored" / "images-000000.npy").write_bytes(b"cut off")
    np.testing.assert_array_equal(stored.batch(0, 0)[0], expected)


def test_a_changed_file_is_prepared_anew(make_data_io) -> None:
    data_io = make_data_io([(12, 12, 12)])
    pp = recipe(data_io, batch_size=1)
    before = BatchMaker(pp, ["s0"], False).batch(0, 0)[0]
    image, *rest = data_io.interface.dictionary["s0"]
    data_io.interface.dictionary["s0"] = (image + 1, *rest)
    after = BatchMaker(pp, ["s0"], False).batch(0, 0)[0]
    np.testing.assert_allclose(after, before + 1)
