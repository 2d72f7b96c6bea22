"""The page, looked at in a real browser, and what it says."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from export import flatbuffer, html_report, quantization, report, samples, stable_units
from tests import support
from tests.support import Exported

FIGURES = ("sizes", "errors", "scatter", "agreement", "latency")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium"
)
# What the browser made of the page, left where --dump-dom shows it. Figures' places are given in
# the page's own pixels, which are the screenshot's.
LOOK = """<script>
const place = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; };
const pictures = [...document.querySelectorAll("svg, img")];
document.documentElement.dataset.look = JSON.stringify({
  pictures: pictures.map(e => ({name: e.id, place: place(e), text: e.textContent.length})),
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  height: document.documentElement.scrollHeight,
  ids: [...document.querySelectorAll("[id]")].map(e => e.id),
  paper: getComputedStyle(document.body).backgroundColor,
});
</script>"""


@pytest.fixture(scope="session")
def origin() -> report.Origin:
    # A hostile name: the page must show it, and not obey it.
    return report.Origin(
        "<b>bold</b> & co", "embedded: x 1.0", "0" * 64, 42, 3, {"tensorflow": "2"}
    )


@pytest.fixture(scope="session")
def taken(exported: Exported) -> samples.Samples:
    runtimes = tuple(support.warm(name) for name in support.RUNTIMES)
    return samples.take(exported.files["int8"], exported.reference, runtimes)


@pytest.fixture(scope="session")
def page(
    exported: Exported,
    taken: samples.Samples,
    simplified: stable_units.Simplified,
    origin: report.Origin,
) -> str:
    return html_report.render(
        exported.parity_of("int8"),
        exported.reference,
        taken,
        simplified,
        origin,
        exported.files["int8"],
        len(exported.float_model),
    ).decode()


def browse(page: str, folder: Path, *, width: int, height: int, dark: bool) -> tuple[dict, Path]:
    """What Chromium made of the page, and a screenshot of it."""
    assert BROWSER
    source, shot = folder / "report.html", folder / "shot.png"
    source.write_text(page.replace("</body>", f"{LOOK}</body>"))
    run = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",  # CI runs as root, where Chromium refuses its sandbox.
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={width},{height}",
            f"--screenshot={shot}",
            "--dump-dom",
            source.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'data-look="([^"]*)"', run.stdout)
    assert found, run.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"')), shot


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_picture_is_drawn(page: str, tmp_path: Path, dark: bool) -> None:
    look, shot = browse(page, tmp_path, width=1000, height=7000, dark=dark)

    assert [one["name"] for one in look["pictures"]] == [f"figure-{name}" for name in FIGURES]
    assert look["height"] <= 7000, "the screenshot must hold the whole page"
    pixels = (image.imread(shot)[..., :3] * 255).astype(np.uint8)
    assert (pixels[2, 2].mean() < 64) == dark
    for one in look["pictures"]:
        left, top, width, height = (round(value) for value in one["place"])
        assert width > 500 and height > 150 and one["text"] > 20, one
        region = pixels[top : top + height, left : left + width].reshape(-1, 3)
        colours, counts = np.unique(region, axis=0, return_counts=True)
        # Text and lines alone cover less, and one flat colour is no picture.
        paper = colours[np.argmax(counts)].astype(int)
        inked = np.abs(region.astype(int) - paper).max(axis=1) > 16
        vivid = np.ptp(region.astype(int), axis=1) > 60
        assert len(colours) > 50 and inked.mean() > 0.01, one["name"]
        assert vivid.sum() > 200, f"{one['name']} shows no coloured mark"


@needs_browser
def test_fits_a_phone(page: str, tmp_path: Path) -> None:
    look, _ = browse(page, tmp_path, width=500, height=900, dark=False)

    assert look["overflow"] <= 0


@needs_browser
def test_ids_are_unique(page: str, tmp_path: Path) -> None:
    look, _ = browse(page, tmp_path, width=1000, height=900, dark=False)

    assert len(look["ids"]) == len(set(look["ids"]))


def test_needs_no_network(page: str) -> None:
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert re.findall(r"url\((?!#)|@import|<script|<link(?! rel=\"icon\")", page) == []


def test_names_from_outside_are_text(page: str) -> None:
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in page


def test_colours_are_the_pages(page: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))

    assert re.findall(r"#0102\d\d", drawn) == []
    assert "var(--series-1)" in drawn and "var(--ink)" in drawn


def test_says_what_was_measured(page: str, exported: Exported) -> None:
    parity = exported.parity_of("int8")

    assert parity.file.sha256 in page
    for name in exported.reference.odd_names:
        assert f"<td>{name}</td>" in page
    for use in parity.file.ops:
        assert f"<code>{use.op} {use.version}</code>" in page
    for runtime in parity.runtimes:
        assert f"{runtime.test.max_abs:.1e}" in page


def test_roles_add_up_to_the_file(exported: Exported) -> None:
    for name, model in exported.files.items():
        tensors = flatbuffer.tensor_sizes(flatbuffer.read(model))
        roles = html_report.sizes_by_role(tensors, len(model))

        assert sum(roles.values()) == len(model), name
        assert all(count > 0 for count in roles.values()), name


def test_every_recipe_has_a_page(
    exported: Exported,
    taken: samples.Samples,
    simplified: stable_units.Simplified,
    origin: report.Origin,
) -> None:
    # Only the words differ: measuring each recipe again would take minutes.
    parity = exported.parity_of("int8")
    for recipe in quantization.RECIPES:
        renamed = replace(parity, recipe=recipe)
        model = exported.files[recipe]
        html = html_report.render(
            renamed,
            exported.reference,
            taken,
            simplified,
            origin,
            model,
            len(exported.float_model),
        )

        assert quantization.RECIPES[recipe].summary in html.decode()


def test_samples_are_the_files_scores(exported: Exported, taken: samples.Samples) -> None:
    parity = exported.parity_of("int8").runtimes[-1]

    assert taken.test.shape == exported.reference.ratings.shape
    errors = np.abs(taken.test - exported.reference.test.scores)
    assert errors.max() == pytest.approx(parity.test.max_abs, abs=1e-6)
    assert taken.kendall_tau.mean() == pytest.approx(parity.catalogue_agreement.kendall_tau, 1e-4)
    assert taken.ndcg.mean() == pytest.approx(parity.catalogue_agreement.ndcg, 1e-4)
    assert len(taken.kendall_tau) == parity.catalogue_agreement.users
    assert {one.signature for one in taken.latencies} == {"score", "rank"}
    assert all(0 < one.low <= one.median <= one.high for one in taken.latencies)


def test_equal_figures_still_make_a_picture(
    exported: Exported,
    taken: samples.Samples,
    simplified: stable_units.Simplified,
    origin: report.Origin,
) -> None:
    ones = np.ones_like(taken.ndcg)
    exact = replace(
        taken,
        test=exported.reference.test.scores,
        catalogue_errors=np.zeros_like(taken.catalogue_errors),
        kendall_tau=ones,
        ndcg=ones,
    )
    parity, model = exported.parity_of("int8"), exported.files["int8"]
    html = html_report.render(
        parity, exported.reference, exact, simplified, origin, model, len(model)
    )

    assert b"NaN" not in html and html.count(b"<svg") == len(FIGURES)
