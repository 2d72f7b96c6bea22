"""A record: the JSON of what a benchmark measured."""

import json
from pathlib import Path
from typing import Any


def write(path: Path, content: Any) -> None:
    """Writes what was measured, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
