"""What is measured in a process of its own, whose memory and libraries are nobody else's."""

import resource
import subprocess
import sys


def last_line(module: str, *arguments: str) -> str:
    """Runs a module of Python to its end; gives the last line that it prints.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1]


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    # Kilobytes on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
