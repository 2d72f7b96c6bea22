"""From a trained TFRS ranking model to one proven `.tflite` file."""

# TensorFlow reads its switches at import: `model` sets them, so it comes first.
import model as model
