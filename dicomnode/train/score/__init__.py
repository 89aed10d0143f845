"""Scores: overlap, surfaces, boxes, classes, with intervals; no file is read here."""
