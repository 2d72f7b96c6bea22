"""Compiles and links the app's resources with aapt2, as the Android Gradle plugin would.

Usage: resources.py ANDROID_JAR OUTPUT_DIR UNPACKED_AARS...

Writes OUTPUT/AndroidManifest.xml (with what Gradle adds to the app's), OUTPUT/r (R.java of the app
and of each library), OUTPUT/resources.apk (resources and assets, the model stored uncompressed),
OUTPUT/rules.pro (R8's rules for what the manifest names) and, for Robolectric,
OUTPUT/config/com/android/tools/test_config.properties.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from sample import MAIN, gradle_setting, run, versions

FORBIDDEN = "android.permission.INTERNET"


def write_manifest(path: Path) -> None:
    """Adds to the app's manifest what Gradle takes from build.gradle.kts."""
    manifest = (MAIN / "AndroidManifest.xml").read_text()
    found = versions()
    attributes = (
        f' package="{gradle_setting("namespace")}"'
        f' android:versionCode="{gradle_setting("versionCode")}"'
        f' android:versionName="{gradle_setting("versionName")}">'
        f'<uses-sdk android:minSdkVersion="{found["minSdk"]}"'
        f' android:targetSdkVersion="{found["targetSdk"]}"/>'
    )
    path.write_text(re.sub(r"(<manifest[^>]*)>", rf"\g<1>{attributes}", manifest, count=1))


def package(aar: Path) -> str:
    """The package of an archive's R class."""
    text = (aar / "AndroidManifest.xml").read_text()
    if FORBIDDEN in text:
        raise SystemExit(f"{aar.name} asks for {FORBIDDEN}, which Gradle would merge into the app")
    found = re.search(r'package="([^"]+)"', text)
    if not found:
        raise SystemExit(f"{aar.name}: no package in its AndroidManifest.xml")
    return found[1]


def main(android: Path, output: Path, unpacked: list[Path]) -> None:
    """Links everything into OUTPUT."""
    shutil.rmtree(output, ignore_errors=True)
    compiled = output / "compiled"
    compiled.mkdir(parents=True)
    aars = sorted(aar for folder in unpacked for aar in folder.iterdir())
    packages = sorted({package(aar) for aar in aars})
    overlays: list[str | Path] = []
    for name, folder in [(aar.name, aar) for aar in aars] + [("zz-app", MAIN)]:
        if (folder / "res").is_dir() and any((folder / "res").rglob("*.*")):
            run("aapt2", "compile", "--dir", folder / "res", "-o", compiled / f"{name}.zip")
            overlays += ["-R", compiled / f"{name}.zip"]
    manifest = output / "AndroidManifest.xml"
    write_manifest(manifest)
    run(
        *("aapt2", "link", "-I", android, "--manifest", manifest, "-o", output / "resources.apk"),
        *("--java", output / "r", "--extra-packages", ":".join(packages)),
        *("--proguard", output / "rules.pro", "--auto-add-overlay", "-A", MAIN / "assets"),
        *("-0", ".tflite"),
        *overlays,
    )
    config = output / "config" / "com" / "android" / "tools" / "test_config.properties"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"android_merged_manifest={manifest}\n"
        f"android_resource_apk={output / 'resources.apk'}\n"
        f"android_custom_package={gradle_setting('namespace')}\n"
    )


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(each) for each in sys.argv[3:]])
