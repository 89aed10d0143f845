"""Data sets for training: gathered from DICOM or drawn as phantoms, written, read back, split by patient."""
