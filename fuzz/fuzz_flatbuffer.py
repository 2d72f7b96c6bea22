"""Fuzzes what reads `.tflite` files, guided by coverage: `export.inspect` without its printing.

    uv run --with atheris python fuzz/fuzz_flatbuffer.py CORPUS -max_total_time=120

CORPUS is a folder: put a small `.tflite` file there to begin with. What raises anything but
`FlatbufferError`, takes more than `-timeout` seconds or more than `-rss_limit_mb` is written
beside as `crash-…`. Not part of the tests: it has no end of its own.
"""

import json
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["export", "ai_edge_litert", "flatbuffers"]):
    from export import flatbuffer, inspect


def one(data: bytes) -> None:
    """Reads a file, and makes the document of what stands in it."""
    try:
        told = inspect.inspect(data)
    except flatbuffer.FlatbufferError:
        return
    json.dumps(inspect.document(told), allow_nan=False)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
