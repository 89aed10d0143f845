"""Makes bundles: data to train on, the fit, the scores, the files."""
