"""Tests. `model` comes first: TensorFlow reads the switches that it sets at its first import."""

import model as model
