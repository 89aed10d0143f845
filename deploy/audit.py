"""Ask whether a locked dependency has a known vulnerability, and never take silence for a no.

``pip-audit`` ends with success where its service knows none of the packages, or is asked through a mirror that has no
such service. Exit codes here: 0 every dependency was looked up and none is known to be vulnerable, 1 some are, 3 some
could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3


def main(requirements: str) -> int:
    """Print what was found; return the exit code."""
    command = [str(Path(sys.executable).parent / "pip-audit"), "--requirement", requirements, "--no-deps",
               "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own environment
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = next(reversed(done.stderr.strip().splitlines()), "no answer")
        print(f"COULD NOT BE CHECKED: the service of vulnerabilities does not answer: {reason}")
        return UNKNOWN
    return judged(dependencies)


def judged(dependencies: list[dict[str, object]]) -> int:
    """Print each finding and the verdict; return the exit code."""
    found = [*vulnerabilities(dependencies)]
    unknown = [str(one["name"]) for one in dependencies if "skip_reason" in one]
    print(*found, sep="\n", end="\n" * bool(found))
    checked = len(dependencies) - len(unknown)
    if found:
        print(f"VULNERABLE: {len(found)} known vulnerabilities in {checked} dependencies that were looked up")
        return VULNERABLE
    if unknown or not dependencies:
        print(f"COULD NOT BE CHECKED: {len(unknown)} of {len(dependencies)} dependencies are not known to the service: "
              f"{', '.join(unknown[:5])}{', …' * (len(unknown) > 5)}")  # noqa: PLR2004
        return UNKNOWN
    print(f"no known vulnerability in {checked} dependencies")
    return CLEAN


def vulnerabilities(dependencies: list[dict[str, object]]) -> Iterator[str]:
    """Yield one line for each."""
    for one in dependencies:
        listed = one.get("vulns")
        for vulnerability in listed if isinstance(listed, list) else ():
            fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
            names = ", ".join((vulnerability["id"], *vulnerability.get("aliases", ())))
            yield f"{one['name']} {one['version']}: {names}; mended in {fixed}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
