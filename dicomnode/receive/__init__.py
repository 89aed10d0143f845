"""DICOM in: who and what may enter, and bytes that are durable before they are acknowledged."""
