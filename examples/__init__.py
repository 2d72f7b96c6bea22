"""Models that are not the tutorial's, to train in seconds and export with `--model`."""

# TensorFlow reads its switches at import: `model` sets them, so it comes first.
import model as model
