"""Side-by-side measurements, each runnable by one command; never run as tests."""

# TensorFlow reads its switches at import: `export` sets them, so it comes first.
import export as export
