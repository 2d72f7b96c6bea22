"""Benchmarks: what a file costs, against other ways to make one and against the machine's limit."""

# TensorFlow reads its switches at import: `model` sets them, so it comes first.
import model as model
