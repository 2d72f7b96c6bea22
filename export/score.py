"""`python -m export.score`: one user's scores from a `.tflite` file, from the shell."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export import console, flatbuffer, runtime

EXAMPLES = """\b
Examples:
  python -m export.score artifacts/ranker.tflite --user 42 "Speed (1994)" "Fargo (1996)"
  python -m export.score artifacts/ranker.tflite --user 42 --recommend 10
  python -m export.score artifacts/ranker.tflite --user 42 "Speed (1994)" --json
  python -m export.score ranker.tflite --verify parity.json --user 42 "Speed (1994)"
"""

# The signatures that this needs, as `export.serving` writes them. Its names are not imported,
# since TensorFlow, seconds to import, would come with them.
USER, CANDIDATE, SCORE, COUNT, SEEN = "user_id", "movie_title", "score", "k", "seen"
NEEDED: Mapping[str, tuple[set[str], set[str]]] = {
    "score": ({USER, CANDIDATE}, {SCORE}),
    "recommend": ({USER, COUNT, SEEN}, {CANDIDATE, SCORE}),
}
DEFAULT_RUNTIME = "litert"
FORMAT_VERSION = 1

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class ScoreError(ValueError):
    """The file can't be asked this, or gave no scores; the message says why."""


@dataclass(frozen=True)
class Scored:
    """A candidate, its score, and whether the file knows its id (None where that can't be told)."""

    candidate: str
    score: float
    known: bool | None


@dataclass(frozen=True)
class Scores:
    """One user's scores, best first; equal ones in the order asked for."""

    user: str
    user_known: bool | None
    runtime: str
    scores: tuple[Scored, ...]


def score(
    session: runtime.Session, model: flatbuffer.Model, user: str, candidates: Sequence[str]
) -> Scores:
    """Scores candidates for one user.

    Args:
        session: the file, open in a runtime.
        model: the same file, parsed.
        user: any text.
        candidates: any texts; one that comes twice is scored twice.

    Raises:
        ScoreError: the file has no `score` of a user and a candidate, or gave no scores.
        IdError: an id has no UTF-8 form.
        RuntimeFailure: the runtime refuses or crashes.
    """
    _check_signature(model, "score")
    pairs = {USER: runtime.utf8([user] * len(candidates)), CANDIDATE: runtime.utf8(candidates)}
    answer = session.run("score", **pairs)
    scores = _scores(answer, len(candidates))
    known = _known(model, "score", CANDIDATE, candidates)
    order = np.argsort(-scores, kind="stable")
    return Scores(
        user,
        _known(model, "score", USER, [user])[0],
        session.runtime.name,
        tuple(Scored(candidates[i], float(scores[i]), known[i]) for i in order),
    )


def recommend(session: runtime.Session, model: flatbuffer.Model, user: str, count: int) -> Scores:
    """The best of the file's own catalogue for one user.

    Args:
        session: the file, open in a runtime.
        model: the same file, parsed.
        user: any text.
        count: how many; no more come than there are.

    Raises:
        As `score`, for the signature `recommend`.
    """
    _check_signature(model, "recommend")
    k = np.array([count], np.int32)
    nothing = runtime.utf8([_nobody(model)])
    inputs = {USER: runtime.utf8([user]), COUNT: k, SEEN: nothing}
    answer = session.run("recommend", **inputs)
    ids = answer.get(CANDIDATE)
    if ids is None or ids.dtype.kind != "O" or ids.ndim != 1:
        raise ScoreError("recommend gave no titles: the file is damaged, or not this exporter's")
    scores = _scores(answer, len(ids))
    best = (Scored(_text(one), float(s), True) for one, s in zip(ids, scores, strict=True))
    user_known = _known(model, "recommend", USER, [user])[0]
    return Scores(user, user_known, session.runtime.name, tuple(best))


def verify(content: bytes, parity_json: Path) -> None:
    """Checks that a file is the one that `parity.json` was measured on.

    Raises:
        ScoreError: it is another, or `parity.json` can't be read.
    """
    try:
        stated = json.loads(parity_json.read_bytes())["file"]["sha256"]
    except OSError as error:
        raise ScoreError(f"can't read {parity_json} ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ScoreError(f"{parity_json} states no checksum: it is no parity.json") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != stated:
        raise ScoreError(
            f"the file is not the one that {parity_json} was measured on: its SHA-256 is "
            f"{digest}, not {stated}"
        )


def _check_signature(model: flatbuffer.Model, name: str) -> None:
    """Checks that a signature has the inputs and outputs that are needed here."""
    inputs, outputs = NEEDED[name]
    for definition in model.signatureDefs or []:
        if flatbuffer.text(definition.signatureKey) == name:
            has = {flatbuffer.text(m.name) for m in definition.inputs or []}
            gives = {flatbuffer.text(m.name) for m in definition.outputs or []}
            if has == inputs and outputs <= gives:
                return
            raise ScoreError(
                f"the file's {name} takes {', '.join(sorted(has)) or 'nothing'}; this command "
                f"gives {', '.join(sorted(inputs))}"
            )
    have = ", ".join(sorted(flatbuffer.signature_names(model).values())) or "none"
    raise ScoreError(f"the file has no signature {name}; it has: {have}")


def _scores(answer: dict[str, runtime.Array], count: int) -> runtime.Array:
    scores = answer.get(SCORE)
    if scores is None or scores.dtype != np.float32 or scores.shape != (count,):
        raise ScoreError(f"the file gave no {count} scores: it is damaged, or not this exporter's")
    if not np.isfinite(scores).all():
        raise ScoreError("the file gave scores that are not finite: it is damaged")
    return scores


def _known(
    model: flatbuffer.Model, signature: str, name: str, ids: Sequence[str]
) -> list[bool | None]:
    """Whether the file's own vocabulary has each id; None where it has none that can be read."""
    with flatbuffer.whole():
        vocabulary = set(flatbuffer.vocabulary(model, signature, name))
    return [one.encode() in vocabulary if vocabulary else None for one in ids]


def _nobody(model: flatbuffer.Model) -> str:
    """An id that the file doesn't know: as `seen` it excludes nothing."""
    with flatbuffer.whole():
        known = set(flatbuffer.vocabulary(model, "recommend", SEEN))
    nobody = ""
    while nobody.encode() in known:
        nobody += "-"
    return nobody


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def table(scores: Scores) -> Table:
    """What people read; unknown ids are marked, since the out-of-vocabulary row answers them."""
    user = console.printable(scores.user)
    strange = ", which the file doesn't know" if scores.user_known is False else ""
    result = Table(
        title=Text(f"user {user}{strange}, {scores.runtime}"), box=box.SIMPLE_HEAD, pad_edge=False
    )
    result.add_column("score", justify="right")
    result.add_column("candidate", overflow="fold")
    for one in scores.scores:
        mark = "  (unknown)" if one.known is False else ""
        result.add_row(f"{one.score:.4f}", Text(console.printable(one.candidate) + mark))
    return result


def _chosen_runtime(name: str | None) -> runtime.Runtime:
    if name is not None:
        return runtime.named(name)
    found = {one.name: one for one in runtime.installed()}
    if not found:
        raise runtime.RuntimeUnavailableError("no runtime is installed: pip install ai-edge-litert")
    # TensorFlow's own takes ten times as long to start.
    return found.get(DEFAULT_RUNTIME) or next(iter(found.values()))


@app.command(epilog=EXAMPLES)
def main(
    file: Annotated[Path, typer.Argument(help="A .tflite file of this exporter.")],
    user: Annotated[str, typer.Option(help="The user's id.")],
    candidates: Annotated[
        list[str] | None, typer.Argument(help="Titles to score. Left out with --recommend.")
    ] = None,
    best: Annotated[
        int | None,
        typer.Option("--recommend", min=1, max=2**31 - 1, help="The best K of the catalogue."),
    ] = None,
    runtime_name: Annotated[
        str | None,
        typer.Option("--runtime", help=f"Which runs it. Default: {DEFAULT_RUNTIME}, if there."),
    ] = None,
    parity_json: Annotated[
        Path | None,
        typer.Option("--verify", help="Refuse a file that this parity.json was not measured on."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Scores candidates for a user, best first.

    The file runs in a process of its own, within limits of time and memory: what it does wrong
    ends there. Exit codes: 0 scored, 2 wrong use, or a file that can't be run.
    """
    try:
        if bool(candidates) == (best is not None):
            raise ScoreError("name titles to score, or --recommend K")
        runtime.utf8([user, *(candidates or [])])
        kind = _chosen_runtime(runtime_name)
        content = flatbuffer.content(file)
        if parity_json is not None:
            verify(content, parity_json)
        model = flatbuffer.read(content)
        with kind.open(content, limits=runtime.Limits()) as session:
            if best is not None:
                scores = recommend(session, model, user, best)
            else:
                scores = score(session, model, user, candidates or [])
    except (
        ScoreError,
        flatbuffer.FlatbufferError,
        runtime.IdError,
        runtime.RuntimeFailure,
        runtime.RuntimeUnavailableError,
    ) as error:
        raise console.fail(str(error)) from error
    if as_json:
        typer.echo(json.dumps({"format_version": FORMAT_VERSION, **asdict(scores)}, indent=1))
    else:
        Console().print(table(scores))


if __name__ == "__main__":
    sys.exit(app())
