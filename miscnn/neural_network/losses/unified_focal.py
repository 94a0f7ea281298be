"""Unified focal loss."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import WithCrossEntropy, not_negative, share
from miscnn.neural_network.losses.tversky import Tversky


@keras.saving.register_keras_serializable(package="miscnn")
class UnifiedFocal(WithCrossEntropy, Tversky):
    """tversky_weight · focal Tversky + crossentropy_weight · focal loss (both ½ by default).

    With TI_c the Tversky index of class c (``fp_weight``, ``fn_weight``) and p_t the
    probability of a voxel's true class t, class 0 being the background:

    - focal Tversky: mean over the classes c of (1 − TI_c)^(1 − gamma);
    - focal loss: mean over the voxels of −d_t · (1 − p_t)^gamma · log p_t, where d_t is
      ``fp_weight`` for the background and ``fn_weight`` for any other class.

    ``asymmetric=True`` drops the exponent of the background in the first, (1 − TI_0), and the
    factor (1 − p_t)^gamma of all other classes in the second: what is rare is enhanced by the
    one and not suppressed by the other.

    Parameters
    ----------
    fp_weight, fn_weight : float
        1 − δ and δ of the paper. They are factors here, not relative weights.
    gamma : float
        0 to below 1.
    asymmetric : bool
        The asymmetric form, for small organs and lesions.
    tversky_weight, crossentropy_weight : float
        Of the two parts.

    Other Parameters
    ----------------
    label_smoothing : float
        Of the truth in the focal loss: −Σ_c d_c y_c (1 − p_c)^gamma · log p_c.
    include_background : bool
        Of the focal Tversky part; the focal loss sees every voxel.

    Notes
    -----
    The paper is for one rare class and the background. Here all classes but the background
    count as rare; for two classes this is the paper's form. The paper exchanges gamma and
    1 − gamma in the symmetric form; taken are the exponents of its authors' published code, the
    same in both forms (for gamma = 0.5 there is no difference).

    References
    ----------
    Yeung et al. 2021, Comput. Med. Imaging Graph. 95:102026, arXiv 2102.04525. The defaults
    are its δ = 0.6, γ = 0.5, λ = 0.5.
    """

    exclusive = True

    def __init__(
        self,
        fp_weight: float = 0.4,
        fn_weight: float = 0.6,
        gamma: float = 0.5,
        *,
        asymmetric: bool = False,
        tversky_weight: float = 0.5,
        crossentropy_weight: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(fp_weight, fn_weight, crossentropy_weight=crossentropy_weight, **kwargs)
        self.gamma = share("gamma", gamma)
        self.asymmetric = bool(asymmetric)
        self.tversky_weight = not_negative("tversky_weight", tversky_weight)

    @property
    def region_weight(self) -> float:
        """Factor of the focal Tversky loss."""
        return self.tversky_weight

    def per_class(self, y_true: Any, y_pred: Any) -> Any:
        """Return the focal Tversky loss of each class."""
        losses = super().per_class(y_true, y_pred)
        return reductions.focal_tversky(losses, self.gamma, self.asymmetric)

    def crossentropy_part(self, y_true: Any, y_pred: Any) -> Any:
        """Return the focal loss."""
        focus = reductions.unified_focus(
            y_pred, self.fp_weight, self.fn_weight, self.gamma, self.asymmetric
        )
        return self.crossentropy(y_true, y_pred, label_smoothing=self.label_smoothing, focus=focus)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {
            "gamma": self.gamma,
            "asymmetric": self.asymmetric,
            "tversky_weight": self.tversky_weight,
        }
        return {**super().get_config(), **own}
