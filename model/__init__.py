"""The ranking model that the exporter is proven on: its data, layers and training."""

from model import environment as environment
