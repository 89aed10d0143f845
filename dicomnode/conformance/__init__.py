"""The DICOM Conformance Statement of a configuration; its tables are the code's own, not typed twice."""
