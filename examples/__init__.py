"""Models that are not the tutorial's, to train in seconds and export with `--model`."""
