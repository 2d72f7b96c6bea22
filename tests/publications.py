"""What the tests of publishing share with the programs that they kill: quick to import."""

import hashlib
import json
from pathlib import Path

from export import publishing

NAMES = ("vocabulary.json", "parity.json", "ranker.tflite")
CALLS = {"publish": publishing.publish, "replace": publishing.replace}


def export(mark: str, size: int = 20_000) -> dict[str, bytes]:
    """An export's files: `parity.json` states the model's checksum, as the real one does."""
    model = mark.encode() * size
    stated = {"file": {"sha256": hashlib.sha256(model).hexdigest()}}
    return dict(zip(NAMES, (mark.encode(), json.dumps(stated).encode(), model), strict=True))


def shown(folder: Path) -> dict[str, bytes]:
    """What users see: every name that isn't hidden and leads somewhere."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.exists()
    }


def hidden(folder: Path) -> list[str]:
    """The other names, without what is random in them."""
    return sorted(path.name[:8] for path in folder.iterdir() if path.name.startswith("."))
