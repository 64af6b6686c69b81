#!/usr/bin/env python3
"""Checks the order of the folders by their includes, and that public headers show no dependency's types.

core <- scan, hippo, io (blind to each other) <- rnn (core, scan), ssm (core, scan, hippo) <- model <- train <- the rest.
--list-public prints the public headers, relative to the root.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAY_INCLUDE = {
    "core": {"core"},
    "scan": {"core", "scan"},
    "hippo": {"core", "hippo"},
    "io": {"core", "io"},
    "rnn": {"core", "scan", "rnn"},
    "ssm": {"core", "scan", "hippo", "ssm"},
    "model": {"core", "scan", "hippo", "io", "rnn", "ssm", "model"},
    "train": {"core", "scan", "hippo", "io", "rnn", "ssm", "model", "train"},
}
FOREIGN = re.compile(r"#include\s*[<\"](Eigen|fmt|hwy|nlohmann|CLI|cuda|cub)[/_.]")


def public_headers():
    headers = ["rill.h"]
    for folder in MAY_INCLUDE:
        text = (ROOT / folder / "CMakeLists.txt").read_text()
        for block in re.findall(r"HEADERS(.*?)(?:SOURCES|\))", text, re.S):
            headers += [f"{folder}/{name}" for name in block.split() if name.endswith(".h")]
    return headers


def main():
    if "--list-public" in sys.argv:
        print("\n".join(public_headers()))
        return 0
    failures = []
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu", ".cuh"}:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r"\s*#include\s*[<\"]rill/([a-z]+)/", line)
                if match and match.group(1) not in allowed:
                    failures.append(f"{path.relative_to(ROOT)}:{number}: {folder} may not include {match.group(1)}")
    for header in public_headers():
        for number, line in enumerate((ROOT / header).read_text().splitlines(), 1):
            if FOREIGN.search(line):
                failures.append(f"{header}:{number}: a public header shows a dependency: {line.strip()}")
    print("\n".join(failures) or "includes: in order")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
