"""Findings in, DICOM objects out: SEG, measurement SR, text SR. The same input gives the same bytes."""
