"""Packs, signs and checks the app's APKs without Gradle: a debug one, and a shrunk release one.

Usage: apk.py ANDROID_JAR R8_JAR CLASS_PATH_FILE RESOURCES_DIR TFLITE_AAR ANDROIDX_AARS OUTPUT_DIR

RESOURCES_DIR is what resources.py wrote; TFLITE_AAR and ANDROIDX_AARS are unpacked archives.
Both APKs are signed with a key made on the spot, as Android Studio does for debug builds.
"""

from __future__ import annotations

import re
import shutil
import struct
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

from sample import ABIS, APP, MAIN, gradle_setting, run, versions

LIBRARY = "libtensorflowlite_jni.so"
MODEL = "assets/ranker.tflite"
PAGE = 4096
# Of what Android reads in place: resources.arsc must be stored so since API 30.
WORD = 4
# Android's own extra field: tells apksigner how an entry is aligned, so that it keeps it so.
ALIGNMENT_FIELD = 0xD935
# By the manifest, and by TFLite's native code and its own reflection.
REACHED_BY_NAME = (
    "org.example.ranker.MainActivity",
    "org.example.ranker.RankerApplication",
    "org.tensorflow.lite.NativeInterpreterWrapper",
    "org.tensorflow.lite.TensorImpl",
    "org.tensorflow.lite.InterpreterFactoryImpl",
)
# What the optimizing default file that comes with the Android Gradle plugin keeps, as far as
# this app needs it.
DEFAULT_RULES = """
-keepattributes *Annotation*,Signature,InnerClasses,EnclosingMethod
-keepclassmembers enum * {
    public static **[] values();
    public static ** valueOf(java.lang.String);
}
-keepclassmembers class * implements android.os.Parcelable { public static final ** CREATOR; }
-dontwarn **
"""


def local_data_offset(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes start: its local header may be longer than the directory's."""
    file.seek(entry.header_offset)
    header = struct.unpack("<4s5H3L2H", file.read(30))
    return entry.header_offset + 30 + int(header[9]) + int(header[10])


def check_mapped(apk: Path) -> None:
    """Each file that Android maps from the APK must be stored, at the start of a page.

    Raises:
        SystemExit: If one is missing, compressed or starts elsewhere.
    """
    with zipfile.ZipFile(apk) as archive, apk.open("rb") as file:
        for name in [MODEL, *(f"lib/{abi}/{LIBRARY}" for abi in ABIS)]:
            if name not in archive.namelist():
                raise SystemExit(f"{apk.name} lacks {name}")
            entry = archive.getinfo(name)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise SystemExit(f"{apk.name}: {name} is compressed, so it can't be mapped")
            offset = local_data_offset(file, entry)
            if offset % PAGE:
                raise SystemExit(f"{apk.name}: {name} starts at {offset}, not at a page")


def add_stored(apk: zipfile.ZipFile, name: str, data: bytes, alignment: int = PAGE) -> None:
    """Adds an entry uncompressed, its bytes at the start of a page or another alignment."""
    assert apk.fp is not None
    entry = zipfile.ZipInfo(name)
    fixed = apk.fp.tell() + 30 + len(name.encode()) + 6
    padding = -fixed % alignment
    entry.extra = struct.pack("<HHH", ALIGNMENT_FIELD, 2 + padding, alignment) + bytes(padding)
    apk.writestr(entry, data, zipfile.ZIP_STORED)


def services(jars: list[str]) -> dict[str, bytes]:
    """The libraries' service files, by which for one coroutines find the main thread."""
    found: dict[str, bytes] = {}
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"META-INF/services/[\w.]+", name):
                    found[name] = found.get(name, b"") + archive.read(name)
    return found


def pack(
    resources: Path, code: Path, java_resources: dict[str, bytes], aar: Path, output: Path
) -> None:
    """Puts resources, code and native libraries together, unsigned."""
    with zipfile.ZipFile(resources) as base, zipfile.ZipFile(output, "w") as apk:
        for entry in base.infolist():
            data = base.read(entry)
            if entry.compress_type == zipfile.ZIP_STORED:
                alignment = PAGE if entry.filename == MODEL else WORD
                add_stored(apk, entry.filename, data, alignment)
            else:
                apk.writestr(zipfile.ZipInfo(entry.filename), data, entry.compress_type)
        for dex in sorted(code.glob("*.dex")):
            apk.writestr(zipfile.ZipInfo(dex.name), dex.read_bytes(), zipfile.ZIP_DEFLATED)
        for name, data in java_resources.items():
            apk.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        for abi in ABIS:
            add_stored(apk, f"lib/{abi}/{LIBRARY}", (aar / "jni" / abi / LIBRARY).read_bytes())


def check_badging(apk: Path) -> None:
    """What the package manager would read must be what the Gradle files say.

    Raises:
        SystemExit: If a line is missing, or the app asks for a permission.
    """
    badging = run("aapt", "dump", "badging", apk)
    found = versions()
    namespace = gradle_setting("namespace")
    for line in (
        f"package: name='{namespace}' versionCode='{gradle_setting('versionCode')}'",
        f"sdkVersion:'{found['minSdk']}'",
        f"targetSdkVersion:'{found['targetSdk']}'",
        f"launchable-activity: name='{namespace}.MainActivity'",
        "native-code: " + " ".join(f"'{abi}'" for abi in ABIS),
    ):
        if line not in badging:
            raise SystemExit(f"{apk.name}: aapt's badging has no line\n  {line}\nbut\n{badging}")
    if "uses-permission" in badging:
        raise SystemExit(f"{apk.name} asks for a permission:\n{badging}")


def check_code(apk: Path, kept: tuple[str, ...]) -> None:
    """The classes that are reached by name only must have outlived R8, under their names."""
    with zipfile.ZipFile(apk) as archive:
        code = b"".join(
            archive.read(n) for n in archive.namelist() if re.fullmatch(r"classes\d*\.dex", n)
        )
    for name in kept:
        if f"L{name.replace('.', '/')};".encode() not in code:
            raise SystemExit(f"{apk.name} lacks the class {name}")


def main(
    android: Path, r8: Path, class_path: Path, resources: Path, aar: Path, aars: Path, output: Path
) -> None:
    """Writes OUTPUT/ranker-debug.apk and OUTPUT/ranker-release.apk."""
    shutil.rmtree(output, ignore_errors=True)
    jars = class_path.read_text().strip().split(":")
    for kind in ("debug", "release"):
        (output / kind).mkdir(parents=True)
    key = output / "debug.keystore"
    run(
        *("keytool", "-genkeypair", "-keystore", key, "-storepass", "android", "-alias", "debug"),
        *("-dname", "CN=Debug", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"),
    )
    # R8 knows in which version of the SDK's android.jar each API appeared. The jar here is all of
    # the framework, with classes that its table has no version for, which it doesn't expect.
    java = (
        "java",
        "-Xmx4g",
        "-XX:+UseParallelGC",
        # The quick compiler only: the other's work doesn't pay off in so short a run.
        "-XX:TieredStopAtLevel=1",
        "-Dcom.android.tools.r8.disableApiModeling=1",
        "-cp",
        r8,
    )
    target = ("--lib", android, "--min-api", versions()["minSdk"])
    run(*java, "com.android.tools.r8.D8", *target, "--debug", "--output", output / "debug", *jars)
    rules = output / "default-rules.pro"
    rules.write_text(DEFAULT_RULES)
    libraries = sorted(
        path for folder in (aars, aar.parent) for path in folder.glob("*/proguard.txt")
    )
    files = [rules, resources / "rules.pro", APP / "proguard-rules.pro", *libraries]
    options: list[str | Path] = []
    for file in files:
        options += ["--pg-conf", file]
    run(
        *java,
        "com.android.tools.r8.R8",
        *target,
        "--release",
        *options,
        "--output",
        output / "release",
        *jars,
    )
    print(f"model  {(MAIN / MODEL).stat().st_size:>12,} bytes")
    for kind in ("debug", "release"):
        apk = output / f"ranker-{kind}.apk"
        unsigned = output / f"unsigned-{kind}.apk"
        # R8 renames services, and writes their files anew.
        shrunk = (output / kind / "META-INF" / "services").glob("*")
        found = {f"META-INF/services/{file.name}": file.read_bytes() for file in sorted(shrunk)}
        pack(resources / "resources.apk", output / kind, found or services(jars), aar, unsigned)
        run("zipalign", "-c", "-p", "4", unsigned)
        run(
            *("apksigner", "sign", "--ks", key, "--ks-pass", "pass:android"),
            *("--min-sdk-version", versions()["minSdk"], "--out", apk, unsigned),
        )
        run("apksigner", "verify", "--min-sdk-version", versions()["minSdk"], apk)
        run("zipalign", "-c", "-p", "4", apk)
        check_mapped(apk)
        check_badging(apk)
        check_code(apk, REACHED_BY_NAME)
        print(f"{kind:7}{apk.stat().st_size:>12,} bytes: {sizes(apk)}")


def sizes(apk: Path) -> str:
    """What an APK's bytes go to."""
    with zipfile.ZipFile(apk) as archive:
        total = {"model": 0, "code": 0, **dict.fromkeys(ABIS, 0)}
        for entry in archive.infolist():
            if entry.filename == MODEL:
                total["model"] += entry.compress_size
            elif entry.filename.endswith(".dex"):
                total["code"] += entry.compress_size
            elif entry.filename.startswith("lib/"):
                total[entry.filename.split("/")[1]] += entry.compress_size
    return ", ".join(f"{name} {size:,}" for name, size in total.items())


if __name__ == "__main__":
    if len(sys.argv) != 8:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
