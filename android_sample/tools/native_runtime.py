"""Lets a desktop JVM load the libtensorflowlite_jni.so that the APK ships (x86-64 Linux).

Usage: native_runtime.py UNPACKED_TENSORFLOW_LITE_AAR OUTPUT_DIR

The library is copied unchanged. Beside it go a libc.so that forwards each symbol it asks of
Android's C library to glibc (bionic/libc.c holds what differs), and an empty libm.so, libdl.so and
liblog.so. Run the JVM with OUTPUT_DIR as java.library.path and LD_LIBRARY_PATH.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

BIONIC = Path(__file__).parent / "bionic" / "libc.c"
LIBRARY = "libtensorflowlite_jni.so"


def link(output: Path, *sources: Path, flags: tuple[str, ...] = ()) -> None:
    """Links a shared library whose name is OUTPUT's."""
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", f"-Wl,-soname,{output.name}"]
        + ["-Wl,-z,now", *flags, "-o", str(output), *map(str, sources), "-lm"],
        check=True,
    )


def main(aar: Path, output: Path) -> None:
    """Writes the library and the four it needs into OUTPUT."""
    output.mkdir(parents=True, exist_ok=True)
    library = Path(shutil.copy(aar / "jni" / "x86_64" / LIBRARY, output / LIBRARY))
    listing = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", str(library)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    needed = set(re.findall(r" U (\w+)@LIBC$", listing, re.MULTILINE))
    own = set(re.findall(r"^EXPORT\((\w+)\);$", BIONIC.read_text(), re.MULTILINE))
    forwarders = output / "forwarders.S"
    forwarders.write_text(
        "".join(
            f".globl bionic_{name}\n.type bionic_{name}, @function\nbionic_{name}:\n"
            f"  jmp *{name}@GOTPCREL(%rip)\n.symver bionic_{name}, {name}@LIBC\n"
            for name in sorted(needed - own)
        )
        + '.section .note.GNU-stack,"",@progbits\n'
    )
    version = output / "version.map"
    version.write_text("LIBC { local: bionic_*; };\n")
    link(output / "libc.so", BIONIC, forwarders, flags=(f"-Wl,--version-script,{version}",))
    empty = output / "empty.S"
    empty.write_text('.section .note.GNU-stack,"",@progbits\n')
    for name in ("libm.so", "libdl.so", "liblog.so"):
        link(output / name, empty)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
