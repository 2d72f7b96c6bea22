"""What the scripts here know of the sample: its Gradle files are the one place that says it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app"
MAIN = APP / "src" / "main"
ABIS = ("arm64-v8a", "x86_64")


def versions() -> dict[str, str]:
    """The version catalog's versions."""
    with (ROOT / "gradle" / "libs.versions.toml").open("rb") as file:
        versions: dict[str, str] = tomllib.load(file)["versions"]
    return versions


def gradle_setting(name: str) -> str:
    """A setting's literal value in the app's build.gradle.kts."""
    found = re.search(
        rf"^\s*{name} = \"?([^\"\n]+?)\"?$", (APP / "build.gradle.kts").read_text(), re.M
    )
    if not found:
        raise SystemExit(f"app/build.gradle.kts has no line '{name} = ...'")
    return found[1]


def run(*command: str | Path) -> str:
    """Runs a command; on failure, ends the script with all that it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
