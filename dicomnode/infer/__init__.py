"""Run MONAI bundles: one warm, unprivileged child process per bundle; torch lives only there."""
