"""Where public data sets lie, and under which licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Licence:
    """What may be done with a data set, and what is to be cited."""

    name: str
    url: str
    reference: str


@dataclass(frozen=True)
class Archive:
    """One file to download and unpack.

    Attributes
    ----------
    file : str
        Its name, appended to the address of the data set or of a mirror.
    checksum : str or None
        ``"algorithm:hash"``; None if no published one is known.
    """

    file: str
    checksum: str | None


_NON_COMMERCIAL = (
    "CC BY-NC-SA 4.0 (no commercial use)",
    "https://creativecommons.org/licenses/by-nc-sa/4.0/",
)

KITS19_IMAGES = "https://kits19.sfo2.digitaloceanspaces.com"
KITS19_LABELS = "https://raw.githubusercontent.com/neheller/kits19/master/data"
KITS19_CASES = 300
KITS19_LABELLED = 210
KITS19_LICENCE = Licence(
    *_NON_COMMERCIAL,
    "Heller et al. 2019, The KiTS19 Challenge Data: 300 Kidney Tumor Cases with Clinical Context, "
    "CT Semantic Segmentations, and Surgical Outcomes, arXiv 1904.00445",
)

CHAOS_URL = "https://zenodo.org/records/3431873/files"
# The checksums are those of torch-em; that of the training part is told by others as well.
CHAOS: Mapping[str, Archive] = MappingProxyType(
    {
        "training": Archive(
            "CHAOS_Train_Sets.zip",
            "sha256:535f7d3417a0e0f0d9133fb3d962423d2a9cf3f103e4f09a3d8a1daf87d5d2fc",
        ),
        "test": Archive(
            "CHAOS_Test_Sets.zip",
            "sha256:80e9e4d4c4e363f142de4570e9b698e3f92dcb5140cc25a9c1cf4963e5ae7541",
        ),
    }
)
CHAOS_LICENCE = Licence(
    *_NON_COMMERCIAL,
    "Kavur et al. 2021, CHAOS Challenge - combined (CT-MR) healthy abdominal organ segmentation, "
    "Medical Image Analysis 69, 101950; data: doi 10.5281/zenodo.3431873",
)

MSD_URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com"
# Address and checksums are those that MONAI uses.
MSD: Mapping[str, Archive] = MappingProxyType(
    {
        name: Archive(f"{name}.tar", f"md5:{checksum}")
        for name, checksum in (
            ("Task01_BrainTumour", "240a19d752f0d9e9101544901065d872"),
            ("Task02_Heart", "06ee59366e1e5124267b774dbd654057"),
            ("Task03_Liver", "a90ec6c4aa7f6a3d087205e23d4e6397"),
            ("Task04_Hippocampus", "9d24dba78a72977dbd1d2e110310f31b"),
            ("Task05_Prostate", "35138f08b1efaef89d7424d2bcc928db"),
            ("Task06_Lung", "8afd997733c7fc0432f71255ba4e52dc"),
            ("Task07_Pancreas", "4f7080cfca169fa8066d17ce6eb061e4"),
            ("Task08_HepaticVessel", "641d79e80ec66453921d997fbf12a29c"),
            ("Task09_Spleen", "410d4a301da4e5b2f6f86ec3ddba524e"),
            ("Task10_Colon", "bad7a188931dc2f6acf72b08eb6202d0"),
        )
    }
)
MSD_LICENCE = Licence(
    "CC BY-SA 4.0",
    "https://creativecommons.org/licenses/by-sa/4.0/",
    "Antonelli et al. 2022, The Medical Segmentation Decathlon, Nature Communications 13, 4128",
)
