"""Each check of the packing scripts, shown to fail once on what it is there for."""

from __future__ import annotations

import tempfile
import unittest
import zipfile
from pathlib import Path

import apk
import resources
import sample

LIBRARIES = [f"lib/{abi}/{apk.LIBRARY}" for abi in sample.ABIS]


class MappedFilesTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.apk = Path(folder.name) / "some.apk"

    def write(self, *, skip: str = "", compress: str = "", misalign: str = "") -> None:
        with zipfile.ZipFile(self.apk, "w") as archive:
            archive.writestr("first", b"x")
            for name in [apk.MODEL, *LIBRARIES]:
                if name == compress:
                    archive.writestr(name, b"data", zipfile.ZIP_DEFLATED)
                elif name == misalign:
                    archive.writestr(name, b"data", zipfile.ZIP_STORED)
                elif name != skip:
                    apk.add_stored(archive, name, b"data")

    def test_what_add_stored_writes_passes(self) -> None:
        self.write()
        apk.check_mapped(self.apk)
        with zipfile.ZipFile(self.apk) as archive:
            self.assertIsNone(archive.testzip())

    def test_a_compressed_model_fails(self) -> None:
        self.write(compress=apk.MODEL)
        with self.assertRaisesRegex(SystemExit, "ranker.tflite is compressed"):
            apk.check_mapped(self.apk)

    def test_a_misaligned_library_fails(self) -> None:
        self.write(misalign=LIBRARIES[0])
        with self.assertRaisesRegex(SystemExit, "not at a page"):
            apk.check_mapped(self.apk)

    def test_a_missing_library_fails(self) -> None:
        self.write(skip=LIBRARIES[1])
        with self.assertRaisesRegex(SystemExit, "lacks lib/x86_64"):
            apk.check_mapped(self.apk)

    def test_a_class_that_was_shrunk_away_fails(self) -> None:
        with zipfile.ZipFile(self.apk, "w") as archive:
            archive.writestr("classes.dex", b"\x00Lkept/Name;\x00")
        apk.check_code(self.apk, ("kept.Name",))
        with self.assertRaisesRegex(SystemExit, "lacks the class gone.Name"):
            apk.check_code(self.apk, ("kept.Name", "gone.Name"))


class ManifestTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.manifest = self.folder / "AndroidManifest.xml"

    def test_a_library_that_asks_for_the_network_fails(self) -> None:
        self.manifest.write_text('<manifest package="some.library"/>')
        self.assertEqual(resources.package(self.folder), "some.library")
        self.manifest.write_text(
            f'<manifest package="x"><uses-permission name="{resources.FORBIDDEN}"/>'
        )
        with self.assertRaisesRegex(SystemExit, "INTERNET"):
            resources.package(self.folder)

    def test_gradles_settings_are_merged_in(self) -> None:
        resources.write_manifest(self.manifest)
        manifest = self.manifest.read_text()
        self.assertIn(f'minSdkVersion="{sample.versions()["minSdk"]}"', manifest)
        self.assertIn('package="org.example.ranker"', manifest)

    def test_a_setting_that_gradle_lacks_fails(self) -> None:
        with self.assertRaisesRegex(SystemExit, "no line 'noSuchThing"):
            sample.gradle_setting("noSuchThing")

    def test_a_command_that_fails_ends_the_script(self) -> None:
        with self.assertRaisesRegex(SystemExit, "python3 failed"):
            sample.run("python3", "-c", "raise SystemExit(3)")


if __name__ == "__main__":
    unittest.main()
