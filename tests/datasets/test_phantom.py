"""The CT phantom: what it promises about geometry, physics and difficulty."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import cc3d
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from miscnn.datasets._anatomy import draw_anatomy
from miscnn.datasets._ct import Scanner, correlated_noise, draw_contrast, expose
from miscnn.datasets._painter import paint
from miscnn.datasets.phantom import (
    PhantomSubject,
    Tissue,
    dataset_subject,
    make_subject,
    synthesize_ct,
    write_dataset,
)


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def subjects() -> list[PhantomSubject]:
    return [dataset_subject(index) for index in range(8)]


def centroid(subject: PhantomSubject, *tissues: Tissue) -> NDArray[np.float64]:
    """Middle of some tissues in the patient, mm."""
    voxels = np.argwhere(np.isin(subject.organs, tissues))
    result: NDArray[np.float64] = nib.affines.apply_affine(subject.affine, voxels.mean(axis=0))
    return result


def volumes(subject: PhantomSubject) -> tuple[float, float]:
    """Millilitres of kidney and tumour."""
    voxel = np.prod(subject.spacing) / 1000
    counts = np.bincount(subject.segmentation.ravel(), minlength=3) * voxel
    return float(counts[1]), float(counts[2])


def lag_one(values: NDArray[np.floating], axis: int) -> float:
    """Correlation of neighbours along an axis."""
    values = np.moveaxis(values - values.mean(), axis, 0)
    return float(np.sum(values[1:] * values[:-1]) / np.sum(values[1:] ** 2))


class TestDifficulty:
    def test_no_interval_of_hu_with_largest_components_segments_it(
        self, subjects: list[PhantomSubject]
    ) -> None:
        # The window and the number of components are chosen with the truth in hand.
        edges = [-5000, 80, 100, 120, 140, 160, 180, 200, 5000]
        windows = [pair for pair in itertools.combinations(edges, 2) if pair != (-5000, 5000)]
        scores = np.zeros((len(subjects), len(windows), 3, 3))
        for row, subject in enumerate(subjects):
            # The air round the patient cannot win, so it need not be searched.
            body = ndimage.find_objects((subject.organs > 0).astype(np.uint8))[0]
            image, truth = subject.image[body], subject.segmentation[body]
            masks = [truth >= 1, truth == 1, truth == 2]
            for column, (low, high) in enumerate(windows):
                found = cc3d.connected_components((image >= low) & (image <= high), connectivity=6)
                sizes = np.bincount(found.ravel())
                sizes[0] = 0
                largest = np.argsort(sizes)[::-1][:3]
                for number, mask in enumerate(masks):
                    hits = np.bincount(found[mask], minlength=len(sizes))
                    hits[0] = 0
                    both = sizes[largest].cumsum() + mask.sum()
                    dice = 2 * hits[largest].cumsum() / both
                    scores[row, column, number, : len(dice)] = dice
        best = scores.mean(axis=0).max(axis=(0, 2))
        assert best[0] < 0.6, f"kidney with tumour: {best[0]:.3f}"
        assert best[1] < 0.6, f"kidney: {best[1]:.3f}"
        assert best[2] < 0.6, f"tumour: {best[2]:.3f}"
        # The search itself works: it finds something of each.
        assert best.min() > 0.2

    def test_tumour_is_darker_than_its_kidney_in_every_subject(
        self, subjects: list[PhantomSubject]
    ) -> None:
        for subject in subjects:
            inner = [
                subject.image[ndimage.binary_erosion(subject.segmentation == label)]
                for label in (1, 2)
            ]
            assert 45 < inner[0].mean() - inner[1].mean() < 95

    def test_organs_overlap_in_hu(self, subjects: list[PhantomSubject]) -> None:
        # Means of neighbours lie closer together than the values within either.
        for organ, other in (
            (Tissue.KIDNEY, Tissue.SPLEEN),
            (Tissue.KIDNEY, Tissue.LIVER),
            (Tissue.TUMOUR, Tissue.LIVER),
            (Tissue.TUMOUR, Tissue.PANCREAS),
            (Tissue.TUMOUR, Tissue.MUSCLE),
        ):
            values = [
                np.concatenate([one.image[one.organs == tissue] for one in subjects])
                for tissue in (organ, other)
            ]
            gap = abs(values[0].mean() - values[1].mean())
            assert gap < values[0].std() + values[1].std(), f"{organ.name}, {other.name}"

    def test_every_subject_has_kidney_and_tumour(self, subjects: list[PhantomSubject]) -> None:
        more = [dataset_subject(index, seed=5, in_plane=40) for index in range(12)]
        for subject in subjects + more:
            kidney, tumour = volumes(subject)
            assert 100 < kidney < 600
            assert 5 < tumour < 250

    def test_size_of_tumours_varies(self, subjects: list[PhantomSubject]) -> None:
        sizes = [volumes(subject)[1] for subject in subjects]
        assert max(sizes) > 2 * min(sizes)


class TestGeometry:
    def test_types_shapes_and_ranges(self, subjects: list[PhantomSubject]) -> None:
        for subject in subjects:
            assert subject.image.dtype == np.int16
            assert subject.segmentation.dtype == subject.organs.dtype == np.uint8
            assert subject.image.shape == subject.segmentation.shape == subject.organs.shape
            assert 96 <= subject.image.shape[0] <= 128
            assert 2.55 < subject.spacing[0] < 3.65
            assert subject.spacing[0] == pytest.approx(subject.spacing[1])
            assert subject.image.min() >= -1024
            assert np.array_equal(subject.organs == Tissue.KIDNEY, subject.segmentation == 1)
            assert np.array_equal(subject.organs == Tissue.TUMOUR, subject.segmentation == 2)

    def test_slices_spread_over_their_range(self) -> None:
        shapes = [dataset_subject(index, seed=3, in_plane=8) for index in range(24)]
        counts = np.array([subject.image.shape[2] for subject in shapes])
        thickness = np.array([subject.spacing[2] for subject in shapes])
        assert counts.min() >= 16
        assert counts.max() <= 120
        assert thickness.min() >= 1 - 1e-9
        assert thickness.max() <= 5 + 1e-9
        assert np.all(counts * thickness >= 79)
        assert np.all(counts * thickness <= 306)
        for half in (counts[:12], counts[12:]):
            # Any twelve subjects reach into every fifth of the range.
            assert np.all(np.histogram(half, bins=5, range=(16, 120))[0] > 0)
        assert np.percentile(thickness, 15) < 2
        assert np.percentile(thickness, 85) > 3

    def test_all_48_orientations_show_the_same_patient(self) -> None:
        options = {"n_slices": 20, "thickness": 5, "in_plane": 24, "tilt": 0}
        upright = make_subject(seeded(1), orientation="RAS", **options)
        assert nib.aff2axcodes(upright.affine) == ("R", "A", "S")
        codes = [
            "".join(letters)
            for order in itertools.permutations(("RL", "AP", "SI"))
            for letters in itertools.product(*order)
        ]
        assert len(codes) == 48
        for code in codes:
            subject = make_subject(seeded(1), orientation=code, **options)
            assert "".join(nib.aff2axcodes(subject.affine)) == code
            back = nib.as_closest_canonical(nib.Nifti1Image(subject.organs, subject.affine))
            assert np.mean(np.asarray(back.dataobj) == upright.organs) > 0.999
            assert back.affine == pytest.approx(upright.affine)

    @pytest.mark.parametrize(("orientation", "tilt"), [("LPS", 0), ("RAS", 12), ("LAI", 8)])
    def test_organs_lie_at_the_same_place_on_any_grid(self, orientation: str, tilt: float) -> None:
        options = {"n_slices": 75, "thickness": 4, "in_plane": 64}
        upright = make_subject(seeded(7), orientation="RAS", tilt=0, **options)
        other = make_subject(seeded(7), orientation=orientation, tilt=tilt, **options)
        assert nib.affines.obliquity(other.affine).max() == pytest.approx(
            np.deg2rad(tilt), abs=np.deg2rad(tilt) / 2 + 1e-6
        )
        if tilt == 0:
            assert np.mean(upright.organs[::-1, ::-1] == other.organs) > 0.999
            assert np.mean(upright.organs == other.organs) < 0.9
        for tissue in (Tissue.KIDNEY, Tissue.TUMOUR, Tissue.SPLEEN, Tissue.PANCREAS):
            assert centroid(other, tissue) == pytest.approx(centroid(upright, tissue), abs=1.5)

    def test_patient_lies_in_the_frame_as_the_affine_says(
        self, subjects: list[PhantomSubject]
    ) -> None:
        for subject in subjects:
            kidneys = centroid(subject, Tissue.KIDNEY, Tissue.TUMOUR)
            spine = centroid(subject, Tissue.SPINAL_CANAL)
            assert centroid(subject, Tissue.LIVER)[0] > spine[0] + 25
            assert centroid(subject, Tissue.SPLEEN)[0] < spine[0] - 50
            assert spine[1] < kidneys[1] - 10
            assert centroid(subject, Tissue.BOWEL_GAS)[1] > spine[1] + 60
            assert centroid(subject, Tissue.LIVER)[2] > kidneys[2]

    def test_some_grids_are_flipped_and_some_oblique(self, subjects: list[PhantomSubject]) -> None:
        codes = {"".join(nib.aff2axcodes(subject.affine)) for subject in subjects}
        oblique = [nib.affines.obliquity(subject.affine).max() > 0.02 for subject in subjects]
        assert len(codes) > 2
        assert 0 < sum(oblique) < len(subjects)
        for subject in subjects:
            axes = subject.affine[:3, :3] / subject.spacing
            assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-9)

    def test_larger_matrix_is_the_same_field_of_view(self) -> None:
        coarse = make_subject(seeded(2), n_slices=4, thickness=20, in_plane=60, tilt=0)
        fine = make_subject(seeded(2), n_slices=4, thickness=20, in_plane=240, tilt=0)
        assert fine.image.shape == (240, 240, 4)
        assert fine.spacing[0] * 4 == pytest.approx(coarse.spacing[0])
        assert centroid(fine, Tissue.KIDNEY) == pytest.approx(
            centroid(coarse, Tissue.KIDNEY), abs=2
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_slices": 0}, "n_slices.*0"),
            ({"thickness": float("nan")}, "thickness.*nan"),
            ({"in_plane": 3}, "in_plane.*3"),
            ({"orientation": "RAX"}, "orientation 'RAX'"),
            ({"orientation": "RLS"}, "orientation 'RLS'"),
        ],
    )
    def test_refuses(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            make_subject(seeded(0), **options)  # type: ignore[arg-type]


class TestPhysics:
    def test_thick_slices_are_means_of_thin_ones(self) -> None:
        rng = seeded(4)
        anatomy = draw_anatomy(rng, draw_contrast(rng))
        thin = np.diag([4.0, 4.0, 1.0, 1.0])
        thin[:3, 3] = -160, -120, -30
        thick = np.diag([4.0, 4.0, 5.0, 1.0])
        thick[:3, 3] = -160, -120, -28
        fine = paint(anatomy, thin, (80, 60, 60))
        coarse = paint(anatomy, thick, (80, 60, 12))
        for name in ("hu", "kidney", "tumour"):
            sheets = getattr(fine, name).reshape(80, 60, 12, 5)
            mean, middle = sheets.mean(axis=3), sheets[..., 2]
            to_mean = np.sqrt(np.mean((getattr(coarse, name) - mean) ** 2))
            to_middle = np.sqrt(np.mean((getattr(coarse, name) - middle) ** 2))
            assert to_mean < 0.5 * to_middle, name
        # Where neither the slice above nor the one below agrees, the voxel lies in between.
        inside = coarse.kidney
        edge = (inside[..., :-2] > 0.98) & (inside[..., 2:] < 0.02)
        assert np.mean((inside[..., 1:-1] > 0.02) & (inside[..., 1:-1] < 0.98), where=edge) > 0.5

    def test_noise_has_unit_variance_and_grain(self) -> None:
        noise = correlated_noise((90, 80, 70), (3.0, 3.0, 2.0), 2, seeded(0))
        assert noise.std() == pytest.approx(1, abs=0.02)
        # White noise under a kernel g correlates as g does with itself; g is a Gaussian.
        for axis, sigma in ((0, 0.6), (1, 0.6), (2, 0.3)):
            kernel = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
            expected = np.sum(kernel[1:] * kernel[:-1]) / np.sum(kernel**2)
            assert lag_one(noise, axis) == pytest.approx(expected, abs=0.02)
        # The grain is a length, not a number of voxels.
        fine = correlated_noise((90, 80, 10), (0.7, 0.7, 2.0), 2, seeded(0))
        assert lag_one(fine, 0) > 0.8

    def test_noise_of_a_subject_is_correlated(self, subjects: list[PhantomSubject]) -> None:
        for subject in subjects:
            liver = ndimage.binary_erosion(subject.organs == Tissue.LIVER, iterations=2)
            smooth = ndimage.uniform_filter(subject.image.astype(np.float32), 7)
            grain = np.where(liver, subject.image - smooth, 0)
            assert 7 < grain[liver].std() < 35
            pairs = liver[1:] & liver[:-1]
            products = grain[1:][pairs] * grain[:-1][pairs]
            assert products.mean() / grain[liver].var() > 0.2

    def test_scanner_shifts_scales_and_adds_noise(self) -> None:
        truth = np.full((40, 40, 30), 100, dtype=np.float32)
        image = expose(truth, (3.0, 3.0, 3.0), 2, Scanner(7.0, 1.03, 20.0), seeded(0))
        assert image.dtype == np.int16
        assert image.mean() == pytest.approx(100 * 1.03 + 7, abs=0.5)
        middle = image[15:25, 15:25]
        assert middle.std() == pytest.approx(20 * 1.03, rel=0.1)
        assert np.all(truth == 100)

    def test_subjects_differ_in_calibration_and_noise(self) -> None:
        # Fat of the trunk tells the calibration, whatever the contrast agent does.
        means = []
        for seed in range(6):
            subject = make_subject(seeded(seed), n_slices=16, thickness=5, in_plane=48)
            fat = ndimage.binary_erosion(subject.organs == Tissue.FAT)
            means.append(subject.image[fat].mean())
        assert np.ptp(means) > 5
        assert -125 < min(means) < max(means) < -75


class TestDataset:
    def test_same_seed_same_bytes_and_no_dependence_on_the_number(self, tmp_path: Path) -> None:
        names = write_dataset(tmp_path / "one", 3, seed=11, in_plane=24)
        assert names == ["phantom_000", "phantom_001", "phantom_002"]
        write_dataset(tmp_path / "two", 2, seed=11, in_plane=24)
        write_dataset(tmp_path / "three", 1, seed=12, in_plane=24)
        for name in names[:2]:
            for file in ("imaging.nii.gz", "segmentation.nii.gz"):
                first = (tmp_path / "one" / name / file).read_bytes()
                assert first == (tmp_path / "two" / name / file).read_bytes()
        other = (tmp_path / "three" / "phantom_000" / "imaging.nii.gz").read_bytes()
        assert other != (tmp_path / "one" / "phantom_000" / "imaging.nii.gz").read_bytes()

    def test_files_hold_the_subject(self, tmp_path: Path) -> None:
        calls: list[tuple[int, int]] = []
        names = write_dataset(
            tmp_path, 2, seed=6, in_plane=24, progress=lambda *args: calls.append(args)
        )
        assert calls == [(1, 2), (2, 2)]
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
        assert files == [f"{n}/{f}.nii.gz" for n in names for f in ("imaging", "segmentation")]
        for number, name in enumerate(names):
            subject = dataset_subject(number, 6, in_plane=24)
            image = nib.load(tmp_path / name / "imaging.nii.gz")
            mask = nib.load(tmp_path / name / "segmentation.nii.gz")
            assert image.get_data_dtype() == np.int16
            assert mask.get_data_dtype() == np.uint8
            assert np.array_equal(np.asarray(image.dataobj), subject.image)
            assert np.array_equal(np.asarray(mask.dataobj), subject.segmentation)
            for file in (image, mask):
                assert file.affine == pytest.approx(subject.affine, abs=1e-3)
                assert file.get_qform() == pytest.approx(subject.affine, abs=1e-2)
                assert file.header["qform_code"] == file.header["sform_code"] == 1
                assert file.header.get_xyzt_units()[0] == "mm"
                assert file.header.get_dim_info() == (0, 1, 2)

    @pytest.mark.parametrize(("subjects", "seed"), [(0, 0), (1, -1)])
    def test_refuses(self, tmp_path: Path, subjects: int, seed: int) -> None:
        with pytest.raises(ValueError, match=r"got (0|-1)"):
            write_dataset(tmp_path, subjects, seed)
        assert not list(tmp_path.iterdir())

    def test_import_is_light(self) -> None:
        code = (
            "import sys, miscnn.datasets.phantom\n"
            "heavy = {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def two_balls(
    shape: tuple[int, int, int], spacing: tuple[float, ...], axis: int = 0
) -> NDArray[np.uint8]:
    """Two balls of 30 mm radius, 120 mm apart along an axis: 1, with 2 in it, and 7."""
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    middle = [(size - 1) / 2 * step for size, step in zip(shape, spacing, strict=True)]
    place = [part * step - m for part, step, m in zip(grid, spacing, middle, strict=True)]
    labels = np.zeros(shape, dtype=np.uint8)
    for value, offset, radius in ((1, -60, 30), (7, 60, 30), (2, -50, 14)):
        square = sum((part - offset * (n == axis)) ** 2 for n, part in enumerate(place))
        labels[square < radius**2] = value
    return labels


class TestSynthesizeCT:
    spacing = (3.5, 3.5, 5.0)
    tissues = {1: 150.0, 2: 95.0, 7: 30.0}  # noqa: RUF012

    def labels(self) -> NDArray[np.uint8]:
        return two_balls((100, 100, 20), self.spacing)

    def test_tissues_have_their_hu(self) -> None:
        labels = self.labels()
        before = labels.copy()
        for seed in range(3):
            image = synthesize_ct(labels, self.spacing, seeded(seed), tissues=self.tissues)
            assert image.shape == labels.shape
            assert image.dtype == np.int16
            means = {
                value: image[ndimage.binary_erosion(labels == value)].mean()
                for value in self.tissues
            }
            for value, mean in self.tissues.items():
                assert means[value] == pytest.approx(mean, abs=18)
            # The calibration cancels in differences.
            assert means[1] - means[2] == pytest.approx(55, abs=8)
            assert means[1] - means[7] == pytest.approx(120, abs=10)
        assert np.array_equal(labels, before)

    def test_deterministic(self) -> None:
        labels = self.labels()
        one = synthesize_ct(labels, self.spacing, seeded(1))
        assert np.array_equal(one, synthesize_ct(labels, self.spacing, seeded(1)))
        assert not np.array_equal(one, synthesize_ct(labels, self.spacing, seeded(2)))

    def test_a_body_surrounds_the_labels(self) -> None:
        labels = self.labels()
        image = synthesize_ct(labels, self.spacing, seeded(3))
        assert image[:3, -3:].mean() < -900
        shell = ndimage.binary_dilation(labels > 0, iterations=6) & (labels == 0)
        assert np.mean(image[shell] > -200) > 0.8
        assert np.mean((image > 300) & (labels == 0)) > 0.003  # bone
        # A thin layer of fat lies on the labels.
        rim = ndimage.binary_dilation(labels > 0) & (labels == 0)
        assert np.median(image[rim]) < image[labels == 1].mean() - 80

    def test_bone_lies_where_the_orientation_says(self) -> None:
        labels = self.labels()
        rows = np.arange(100)[:, None]
        for orientation, posterior_is_high in ((None, False), ("LPS", True)):
            image = synthesize_ct(labels, self.spacing, seeded(3), orientation=orientation)
            # The spine: bone in the midline.
            bone = (image[40:60] > 300) & (labels[40:60] == 0)
            middle = np.sum(bone.sum(axis=(0, 2))[:, None] * rows) / bone.sum()
            assert (middle > 55) == posterior_is_high

    def test_slice_axis_first(self) -> None:
        spacing = (5.0, 3.5, 3.5)
        labels = two_balls((20, 100, 100), spacing, axis=2)
        image = synthesize_ct(labels, spacing, seeded(2), tissues={1: 120, 2: 120, 7: 120})
        assert image.shape == (20, 100, 100)
        # Noise is correlated within a slice, not from slice to slice.
        ball = (slice(7, 13), slice(45, 55), slice(28, 37))
        assert np.all(labels[ball] > 0)
        inner = image[ball].astype(np.float64)
        assert lag_one(inner, 0) + 0.2 < min(lag_one(inner, 1), lag_one(inner, 2))
        # As in KiTS, the second axis runs to the back.
        bone = (image[:, :, 42:58] > 300) & (labels[:, :, 42:58] == 0)
        assert np.average(np.arange(100), weights=bone.sum(axis=(0, 2))) > 55

    def test_equal_spacing_takes_the_last_axis_for_slices(self) -> None:
        labels = two_balls((48, 80, 60), (4.0, 4.0, 4.0))
        image = synthesize_ct(labels, (4.0, 4.0, 4.0), seeded(2))
        named = synthesize_ct(labels, (4.0, 4.0, 4.0), seeded(2), orientation="RAS")
        assert np.array_equal(image, named)

    def test_default_tissues_differ(self) -> None:
        labels = self.labels()
        labels[labels == 7] = 58
        image = synthesize_ct(labels, self.spacing, seeded(3))
        kidney, tumour, other = (
            image[ndimage.binary_erosion(labels == value)].mean() for value in (1, 2, 58)
        )
        assert 35 < kidney - tumour < 80
        assert 10 < other < 190

    def test_any_integers_and_no_labels_at_all(self) -> None:
        labels = self.labels() == 1
        image = synthesize_ct(labels, self.spacing, seeded(3))
        again = synthesize_ct(labels.astype(np.int64), self.spacing, seeded(3))
        assert np.array_equal(image, again)
        empty = synthesize_ct(np.zeros((30, 30, 4), np.uint8), (8.0, 8.0, 10.0), seeded(3))
        assert -100 < np.median(empty[12:18, 12:18]) < 200

    @pytest.mark.parametrize(
        ("labels", "spacing", "message"),
        [
            (np.zeros((4, 4, 4)), (1, 1, 1), "integers.*float64"),
            (np.zeros((4, 4), np.uint8), (1, 1, 1), r"3D.*\(4, 4\)"),
            (np.zeros((4, 4, 0), np.uint8), (1, 1, 1), "not empty"),
            (np.full((4, 4, 4), -1), (1, 1, 1), "0 or more, got -1"),
            (np.full((4, 4, 4), 70000), (1, 1, 1), "at most 65535, got 70000"),
            (np.zeros((4, 4, 4), np.uint8), (1, 0, 1), r"three positive.*\(1, 0, 1\)"),
            (np.zeros((4, 4, 4), np.uint8), (1, 1), r"three positive.*\(1, 1\)"),
        ],
    )
    def test_refuses(
        self, labels: NDArray[np.generic], spacing: tuple[float, ...], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            synthesize_ct(labels, spacing, seeded(0))

    @pytest.mark.realdata
    def test_kits_labels(self, real_data: Path) -> None:
        file = nib.load(real_data / "kits19_labels" / "case_00061.nii.gz")
        labels = np.asarray(file.dataobj)[:, ::4, ::4].astype(np.uint8)
        spacing = np.array(file.header.get_zooms(), dtype=float) * (1, 4, 4)
        image = synthesize_ct(labels, spacing.tolist(), seeded(0))
        assert image.shape == labels.shape
        kidney, tumour = (image[labels == value].mean() for value in (1, 2))
        assert 80 < kidney < 185
        assert 30 < kidney - tumour < 90
        # The spine lies behind the kidneys and between them.
        place = np.argwhere(labels > 0).mean(axis=0)
        half = slice(int(place[2]) - 8, int(place[2]) + 8)
        bone = (image[:, :, half] > 300) & (labels[:, :, half] == 0)
        assert np.argwhere(bone)[:, 1].mean() > place[1]
