"""DICOM: image series in, segmentations in and out. Needs ``pip install 'miscnn[dicom]'``."""
