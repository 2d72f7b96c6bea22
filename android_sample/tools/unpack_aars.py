"""Unpacks Android archives for tools that take jars: classes merged, the rest one folder each.

Usage: unpack_aars.py AARS_DIR OUTPUT_DIR
"""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from pathlib import Path


def main(aars: Path, output: Path) -> None:
    """Writes OUTPUT/classes (all of the archives' classes) and OUTPUT/unpacked/NAME/."""
    archives = sorted(aars.glob("*.aar"))
    if not archives:
        sys.exit(f"unpack_aars.py: no .aar file in {aars}")
    classes, unpacked = output / "classes", output / "unpacked"
    shutil.rmtree(classes, ignore_errors=True)
    shutil.rmtree(unpacked, ignore_errors=True)
    for archive in archives:
        with zipfile.ZipFile(archive) as aar:
            aar.extractall(unpacked / archive.stem)
            with zipfile.ZipFile(io.BytesIO(aar.read("classes.jar"))) as jar:
                jar.extractall(classes)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
