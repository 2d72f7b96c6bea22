"""`python -m export.bundle`: an exported model, its catalogue and golden cases into the app."""

import contextlib
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from export import console, publishing

EXAMPLES = """\b
Examples:
  python -m export.bundle
  python -m export.bundle --artifacts build/half
  python -m export.bundle --app ../my-copy-of-the-sample
"""

MODEL = "ranker.tflite"
VOCABULARY = "vocabulary.json"
GOLDEN = "golden.json"
PARITY = "parity.json"
CHECKSUMS = "SHA256SUMS"
EXPORTER = "run `python -m export.tflite` first"

# Where the app looks for them, under its folder: what it ships, and what its tests read.
ASSETS = Path("app/src/main/assets")
TEST_RESOURCES = Path("app/src/androidTest/resources")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class BundleError(ValueError):
    """The artifacts don't belong together, or aren't there; the message says which."""


@dataclass(frozen=True)
class Bundle:
    """An export's files, proven to belong together.

    Attributes:
        recipe: how the model's numbers are stored.
        assets: what the app ships, with the checksums that it verifies at its start.
        test_resources: what its tests compare with.
    """

    recipe: str
    assets: dict[str, bytes]
    test_resources: dict[str, bytes]


def read(artifacts: Path) -> Bundle:
    """Reads an export and checks that its files are of one run.

    Args:
        artifacts: the folder that `python -m export.tflite` wrote.

    Raises:
        BundleError: a file is missing, isn't what the exporter writes, or is of another model.
    """
    there = artifacts.is_dir()
    # No export may take their place between two of the four.
    with publishing.locked(artifacts, shared=True) if there else contextlib.nullcontext():
        model = _read(artifacts / MODEL)
        vocabulary = _read(artifacts / VOCABULARY)
        golden = _read(artifacts / GOLDEN)
        parity = _read(artifacts / PARITY)
    digest = hashlib.sha256(model).hexdigest()
    for name, source, keys in (
        (GOLDEN, golden, ("model_sha256",)),
        (PARITY, parity, ("file", "sha256")),
    ):
        stated = _value(artifacts / name, source, *keys)
        if stated != digest:
            raise BundleError(
                f"{artifacts / name} is of another {MODEL} ({stated}, not {digest}): {EXPORTER}"
            )
    for column in ("user_id", "movie_title"):
        if not _value(artifacts / VOCABULARY, vocabulary, column):
            raise BundleError(f"{artifacts / VOCABULARY} has no ids for {column}: {EXPORTER}")
    sums = f"{digest}  {MODEL}\n{hashlib.sha256(vocabulary).hexdigest()}  {VOCABULARY}\n"
    return Bundle(
        recipe=str(_value(artifacts / PARITY, parity, "recipe")),
        # The checksums come last: until they are in place, the app refuses the new model.
        assets={VOCABULARY: vocabulary, MODEL: model, CHECKSUMS: sums.encode()},
        test_resources={GOLDEN: golden, PARITY: parity},
    )


def write(bundle: Bundle, folder: Path) -> None:
    """Puts a bundle into the app's folder, no file ever half there.

    Raises:
        publishing.PublishingError: the folder can't be written.
    """
    for place, files in (
        (folder / ASSETS, bundle.assets),
        (folder / TEST_RESOURCES, bundle.test_resources),
    ):
        publishing.prepare(place)
        publishing.replace(place, files)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"can't read {path} ({error.strerror}): {EXPORTER}") from error


def _value(path: Path, source: bytes, *keys: str) -> Any:
    """What stands under nested keys of a JSON file."""
    try:
        value = json.loads(source)
        for key in keys:
            value = value[key]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} has no {'.'.join(keys)}: {EXPORTER}") from error
    return value


@app.command(epilog=EXAMPLES)
def main(
    artifacts: Annotated[
        Path, typer.Option(help="Folder that `python -m export.tflite` wrote.")
    ] = Path("artifacts"),
    folder: Annotated[Path, typer.Option("--app", help="The Android sample's folder.")] = Path(
        "android_sample"
    ),
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Puts an exported model into the Android sample.

    Copies ranker.tflite and vocabulary.json into the app's assets, with their checksums, and
    golden.json and parity.json into its tests' resources, once all four are proven to be of one
    export. Exit codes: 0 done, 2 wrong use.
    """
    try:
        if not (folder / "settings.gradle.kts").is_file():
            raise BundleError(f"{folder} is no Android project: name it with --app")
        bundle = read(artifacts)
        write(bundle, folder)
    except (BundleError, publishing.PublishingError) as error:
        raise console.failed(Console(stderr=True), f"error: {error}", 2) from error
    if not quiet:
        size = len(bundle.assets[MODEL])
        Console().print(
            f"bundled {MODEL} ({bundle.recipe}, {size:,} bytes) into {folder / ASSETS}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    sys.exit(app())
