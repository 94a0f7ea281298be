"""General augmentation: nine operations for images of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import from_json, to_json
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import _drawing, _intensity, _spatial
from miscnn.processing.augmentation._drawing import Choices, drawn_margin
from miscnn.processing.augmentation._ranges import Range
from miscnn.processing.augmentation._settings_1x import ARGUMENTS, SETTINGS, general_arguments
from miscnn.processing.augmentation.base import Augmentation, PatchGrid, center_crop, check_arrays

DEFAULT_PROBABILITIES: Final = _drawing.DEFAULT_PROBABILITIES


class GeneralAugmentation(Augmentation):
    """Translation, rotation, scaling, elastic, mirror, contrast, brightness, gamma and noise.

    Every operation takes ``None`` or ``False`` (off), ``True`` (on with its default), or its
    range as ``(lowest, highest)``; each is drawn with its own probability for each patch. The
    defaults of range and probability are those of nnU-Net 2, except that mirroring is off:
    images of the body have a left and a right (liver and spleen, left and right kidney), and
    a network that is to tell them apart must not see them exchanged. Switch it on where sides
    do not matter. Translation is off because random patches are displaced anyway, elastic
    deformation because it costs most and gains least.

    Parameters
    ----------
    translation : range, optional
        Displacement along every axis, drawn apart; one number ``a`` is ``(-a, a)``. A positive
        one moves objects to higher indices. Rounded to whole voxels, so that a translation
        alone interpolates nothing. Default when ``True``: 10 % of the patch.
    translation_unit : {"fraction", "voxels"}
        Unit of ``translation``; a fraction is one of the patch's length.
    rotation : range or three ranges, optional
        Degrees; one number ``a`` is ``(-a, a)``. One range holds for all axes, three are those
        about x, y and z. Right-handed in voxel indices: a positive angle turns objects from
        the first towards the second axis of the planes (y, z), (z, x), (x, y). The three turns
        are composed as in batchgenerators. Where one axis of a 3D patch is more than three times
        as long as another, only the plane of the two axes of most equal length is
        turned (and deformed elastically): such voxels are anisotropic, and to turn their
        indices out of the plane would shear what they show. In a stack of random slices
        translation, rotation, scaling and deformation stay within the slices.
    scaling : range, optional
        Factor of size, one for all axes: above 1 objects become larger. (batchgenerators'
        and MIScnn 1.x' factor is its reciprocal.)
    elastic : range, optional
        Standard deviation of the displacement of a voxel, in voxels; one number ``a`` is
        ``(0, a)``.
    elastic_sigma : range
        Smoothness of the displacement: standard deviation, in voxels, of the Gaussian that
        smooths it.
    mirror : bool or tuple of int, optional
        Axes that may be mirrored; ``True`` for all.
    contrast : range, optional
        Factor on the distance of every intensity to the channel's mean in the patch.
    contrast_preserve_range : bool
        Set intensities that contrast takes out of the channel's range to the range's ends.
    brightness : range, optional
        Factor on every intensity.
    gamma : range, optional
        Exponent on intensities that were brought to [0, 1].
    gamma_inverted : float
        Share of the gamma changes that are done on the negative image.
    gamma_keep_statistics : bool
        Give the changed channel the mean and standard deviation it had.
    gaussian_noise : range, optional
        Standard deviation, in units of the image's intensities (after z-score: of standard
        deviations; choose your own for other intensities). One number ``a`` is ``(0, a)``.
    per_channel : bool
        Draw contrast, brightness, gamma and noise level for each channel apart. Statistics
        are each channel's own in any case.
    probabilities : float or mapping of str to float, optional
        Probability of all operations, or of those named: ``{"rotation": 1.0}``. Default:
        :data:`DEFAULT_PROBABILITIES`. That of ``mirror`` is one per axis.
    order : int
        Spline order of the image's interpolation, 0 to 5. Linear (1) is the default: a 96³
        patch takes 0.03 s, cubic (3) 0.35 s. Labels are always those of the nearest voxel.
    border : {"nearest", "reflect"}
        What lies beyond the input, for image and labels alike, so that they stay aligned: the
        voxel at the border, or the mirror image.

    Notes
    -----
    *Order.* Rotation, scaling, translation and elastic deformation are one map of coordinates
    and one interpolation of the voxels of the patch; then mirroring, contrast, brightness,
    gamma, noise. If nothing but mirroring and translation is drawn, nothing is interpolated; if
    nothing is drawn, the patch is returned bit by bit.

    *Drawing.* Factors (scaling, contrast, brightness, gamma) whose range holds 1 are below 1 as
    often as above. All numbers come from the generator handed to :meth:`sample_parameters` and
    stand in the parameters; fields (noise, displacement) as a seed. Neither method reads or
    changes NumPy's global state.

    *batchgenerators.* Its matrices make the rotations, its ``interpolate_img`` the elastic
    deformation of an order above 1. Linear interpolation is the library's own, block by block in
    the processor's cache; affine maps of a higher order go to SciPy. Colour operations follow
    batchgenerators' formulas and equal its results; its own functions draw from NumPy's global
    state while they work, which is not repeatable with several threads.

    Examples
    --------
    >>> import numpy as np
    >>> augmentation = GeneralAugmentation(rotation=15, mirror=(0,), probabilities={"rotation": 1})
    >>> image, labels = np.ones((40, 40, 40, 1), np.float32), np.zeros((40, 40, 40), np.uint8)
    >>> drawn = augmentation.sample_parameters(np.random.default_rng(0), (32, 32, 32), channels=1)
    >>> image, labels = augmentation.apply(image, labels, drawn, (32, 32, 32))
    >>> image.shape, labels.shape
    ((32, 32, 32, 1), (32, 32, 32))

    References
    ----------
    .. [1] F. Isensee et al., "batchgenerators - a python framework for data augmentation",
       2020, doi:10.5281/zenodo.3632567.
    .. [2] F. Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
       biomedical image segmentation", Nature Methods 18, 2021, supplementary note 2.
    """

    def __init__(
        self,
        *,
        translation: Range = None,
        translation_unit: Literal["fraction", "voxels"] = "fraction",
        rotation: Range | Sequence[Range] = _drawing.ROTATION,
        scaling: Range = _drawing.SCALING,
        elastic: Range = None,
        elastic_sigma: Sequence[float] = _drawing.ELASTIC_SIGMA,
        mirror: bool | Sequence[int] | None = None,
        contrast: Range = _drawing.CONTRAST,
        contrast_preserve_range: bool = True,
        brightness: Range = _drawing.BRIGHTNESS,
        gamma: Range = _drawing.GAMMA,
        gamma_inverted: float = 0.25,
        gamma_keep_statistics: bool = True,
        gaussian_noise: Range = _drawing.NOISE,
        per_channel: bool = True,
        probabilities: float | Mapping[str, float] | None = None,
        order: int = 1,
        border: Literal["nearest", "reflect"] = "nearest",
    ) -> None:
        self.translation = translation
        self.translation_unit = translation_unit
        self.rotation = rotation
        self.scaling = scaling
        self.elastic = elastic
        self.elastic_sigma = elastic_sigma
        self.mirror = mirror
        self.contrast = contrast
        self.contrast_preserve_range = contrast_preserve_range
        self.brightness = brightness
        self.gamma = gamma
        self.gamma_inverted = gamma_inverted
        self.gamma_keep_statistics = gamma_keep_statistics
        self.gaussian_noise = gaussian_noise
        self.per_channel = per_channel
        self.probabilities = probabilities
        self.order = order
        self.border = border
        self._check()

    def _check(self) -> None:
        known: dict[str, Sequence[Any]] = {
            "translation_unit": ("fraction", "voxels"),
            "border": ("nearest", "reflect"),
            "order": range(6),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigurationError(
                    f"{name} must be one of {', '.join(map(repr, values))}; "
                    f"received {getattr(self, name)!r}"
                )
        # Whether an argument suits 2D or 3D patches is known with the first patch only.
        three_ranges = isinstance(self.rotation, (list, tuple)) and len(self.rotation) == 3
        mirrors_z = isinstance(self.mirror, (list, tuple)) and 2 in self.mirror
        Choices.read(self, (1, 1, 1) if three_ranges or mirrors_z else (1, 1))

    def margin(
        self, patch_shape: Sequence[int], parameters: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Return how far the map may look beyond the patch, at most half of the patch.

        See :meth:`Augmentation.margin`. Elastic displacement counts with three standard
        deviations.
        """
        if parameters is None:
            return Choices.read(self, patch_shape).margin()
        return drawn_margin(parameters, patch_shape)

    def sample_parameters(
        self,
        rng: np.random.Generator,
        patch_shape: Sequence[int],
        channels: int,
        grid: PatchGrid | None = None,
    ) -> dict[str, Any]:
        """Draw what happens to one patch; see :meth:`Augmentation.sample_parameters`.

        The parameters are JSON values, of the operations that were drawn only:

        - ``rotation``: degrees, about one axis (2D) or x, y, z (3D);
        - ``scaling``: factor of size; with ``plane``, in a stack of slices, of these axes;
        - ``translation``: whole voxels per axis;
        - ``elastic``: ``displacement`` and ``sigma`` in voxels, ``axes``, ``seed``;
        - ``mirror``: axes;
        - ``contrast``, ``brightness``, ``gamma``, ``gaussian_noise``: ``values``, one per
          channel; also ``inverted`` of gamma, ``seed`` of the noise.
        """
        if len(patch_shape) not in (2, 3):
            raise ConfigurationError(
                f"patches have 2 or 3 spatial axes; received the patch shape {tuple(patch_shape)}"
            )
        stacked = None if grid is None or grid.regular else grid.slice_axis
        return Choices.read(self, patch_shape, stacked).draw(rng, channels, self.per_channel)

    def apply(
        self,
        image: NDArray[np.float32],
        segmentation: NDArray[Any],
        parameters: Mapping[str, Any],
        patch_shape: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Apply drawn parameters; see :meth:`Augmentation.apply`.

        Raises
        ------
        ConfigurationError
            If image and segmentation differ in shape, or are smaller than the patch.
        """
        shape = tuple(patch_shape)
        image = np.asarray(image, dtype=np.float32)
        check_arrays(image, segmentation, shape)
        if {"rotation", "scaling", "elastic"} & set(parameters):
            image, segmentation = _spatial.warp(
                image, segmentation, shape, parameters, self.order, self.border
            )
        elif "translation" in parameters:
            steps = parameters["translation"]
            image = _spatial.shift(image, shape, steps, self.border)
            segmentation = _spatial.shift(segmentation, shape, steps, self.border)
        else:
            image, segmentation = center_crop(image, shape), center_crop(segmentation, shape)
        if "mirror" in parameters:
            axes = tuple(parameters["mirror"])
            image, segmentation = np.flip(image, axes), np.flip(segmentation, axes)
        return self._change_colours(image, parameters), segmentation

    def _change_colours(
        self, image: NDArray[np.float32], parameters: Mapping[str, Any]
    ) -> NDArray[np.float32]:
        if "contrast" in parameters:
            values = parameters["contrast"]["values"]
            image = _intensity.change_contrast(image, values, self.contrast_preserve_range)
        if "brightness" in parameters:
            image = _intensity.change_brightness(image, parameters["brightness"]["values"])
        if "gamma" in parameters:
            gamma = parameters["gamma"]
            image = _intensity.change_gamma(
                image, gamma["values"], gamma["inverted"], self.gamma_keep_statistics
            )
        if "gaussian_noise" in parameters:
            noise = parameters["gaussian_noise"]
            image = _intensity.add_gaussian_noise(image, noise["values"], noise["seed"])
        return image


class Data_Augmentation(Augmentation):  # noqa: N801 - the name of MIScnn 1.x
    """:class:`GeneralAugmentation` with the arguments and settings of MIScnn 1.x.

    Parameters
    ----------
    cycles : int
        Number of augmented patches made of each sample in an epoch.
    scaling, rotations, elastic_deform, mirror, brightness, contrast, gamma, gaussian_noise : bool
        Which operations are on.

    Notes
    -----
    The settings of 1.x are attributes, with its defaults; set them after construction and they
    take effect with the next patch: ``config_p_per_sample`` (of every operation; mirroring has
    0.5 per axis), ``config_mirror_axes`` (axes that the patch lacks are passed over),
    ``config_contrast_range``, ``config_contrast_preserverange``, ``config_brightness_range``,
    ``config_gamma_range``, ``config_gaussian_noise_range`` (standard deviations),
    ``config_rotations_angleX``, ``…Y``, ``…Z`` (radians; X is that of 2D images),
    ``config_scaling_range`` (above 1 objects become smaller, other than in
    :class:`GeneralAugmentation`), ``config_elastic_deform_alpha`` and ``…_sigma``,
    ``coloraug_per_channel``, ``seg_augmentation`` (False: the labels stay where they are).
    ``cropping…`` and ``infaug…`` are accepted and without effect: the preprocessor cuts
    patches, prediction mirrors. An attribute of another name is an error.

    Other than 1.x: images are interpolated linearly, labels take the nearest label, and beyond
    the border of the image lies what is at the border, not 0.
    """

    def __init__(
        self,
        cycles: int = 1,
        scaling: bool = True,
        rotations: bool = True,
        elastic_deform: bool = False,
        mirror: bool = False,
        brightness: bool = True,
        contrast: bool = True,
        gamma: bool = True,
        gaussian_noise: bool = True,
    ) -> None:
        if cycles < 1:
            raise ConfigurationError(f"cycles must be 1 or more; received {cycles!r}")
        self.cycles = cycles
        self.scaling = scaling
        self.rotations = rotations
        self.elastic_deform = elastic_deform
        self.mirror = mirror
        self.brightness = brightness
        self.contrast = contrast
        self.gamma = gamma
        self.gaussian_noise = gaussian_noise
        self.__dict__.update(SETTINGS)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ARGUMENTS and name not in SETTINGS:
            raise AttributeError(
                f"Data_Augmentation has no setting {name!r}; there are "
                f"{', '.join((*ARGUMENTS, *SETTINGS))}"
            )
        super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        """Return arguments and settings as JSON values."""
        settings = {name: to_json(vars(self)[name]) for name in SETTINGS}
        return {**super().get_config(), "settings": settings}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the augmentation again from what :meth:`get_config` returned."""
        part = super().from_config({k: v for k, v in config.items() if k != "settings"})
        for name, value in config.get("settings", {}).items():
            setattr(part, name, from_json(value))
        return part

    def as_general(self, ndim: int) -> GeneralAugmentation:
        """Return what arguments and settings now mean for images of 2 or 3 axes."""
        return GeneralAugmentation(**general_arguments(vars(self), ndim))

    def margin(
        self, patch_shape: Sequence[int], parameters: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Return how far the map may look beyond the patch; see :meth:`Augmentation.margin`."""
        return self.as_general(len(patch_shape)).margin(patch_shape, parameters)

    def sample_parameters(
        self,
        rng: np.random.Generator,
        patch_shape: Sequence[int],
        channels: int,
        grid: PatchGrid | None = None,
    ) -> dict[str, Any]:
        """Draw what happens to one patch; see :meth:`GeneralAugmentation.sample_parameters`."""
        general = self.as_general(len(patch_shape))
        return general.sample_parameters(rng, patch_shape, channels, grid)

    def apply(
        self,
        image: NDArray[np.float32],
        segmentation: NDArray[Any],
        parameters: Mapping[str, Any],
        patch_shape: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Apply drawn parameters; see :meth:`Augmentation.apply`."""
        general = self.as_general(len(patch_shape))
        image, moved = general.apply(image, segmentation, parameters, patch_shape)
        if vars(self)["seg_augmentation"]:
            return image, moved
        return image, center_crop(segmentation, patch_shape)
