"""The generated parts of README.md, and the files and INFO fields that the documents name.

    readme_tables.py --check   fail when a table is stale, or a named file or field does not exist
    readme_tables.py --write   put the program's own tables into README.md (./dev docs)

The tables of commands and of options come out of the program ($ATOLL_BINARY, or build/atoll), so
that the README cannot say anything else than the program does.
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("ATOLL_BINARY", os.path.join(ROOT, "build", "atoll"))
README = os.path.join(ROOT, "README.md")
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "crdt/FORMAT.md", "persist/FORMAT.md",
             "invalidation/README.md", "deploy/terraform/README.md"]
TABLES = ["commands", "config"]  # the marker and the subcommand have one name
NAMED_FILE = re.compile(r"`([\w./*{},-]+/[\w.*{},-]+\.(?:h|cpp|py|sh|proto|md|hex))`")
INFO_FIELD = re.compile(r"`((?:geo|recovery|storage)_[a-z_]+)(?::\d)?`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def generated(table):
    done = subprocess.run([BINARY, table, "--markdown"], capture_output=True, text=True, timeout=30)
    if done.returncode != 0 or not done.stdout.strip():
        sys.exit(f"{BINARY} {table} --markdown failed: {done.stderr.strip()}")
    return done.stdout.strip()


def with_tables(text):
    for table in TABLES:
        begin, end = f"<!-- {table}:begin -->", f"<!-- {table}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            sys.exit(f"README.md needs one '{begin}' and after it one '{end}'")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{generated(table)}\n{end}{after}"
    return text


def variants(path):
    """What a shell would make of {a,b}."""
    braces = re.search(r"\{([^{}]*)\}", path)
    if braces is None:
        return [path]
    return [found for choice in braces.group(1).split(",")
            for found in variants(path[:braces.start()] + choice + path[braces.end():])]


def read_sources(pattern):
    return "".join(open(path, encoding="utf-8").read()
                   for path in sorted(glob.glob(os.path.join(ROOT, pattern))))


def missing_names():
    missing = []
    info = read_sources("node/shard/*.cpp")
    for document in DOCUMENTS:
        with open(os.path.join(ROOT, document), encoding="utf-8") as file:
            text = file.read()
        named = [(ROOT, path) for path in NAMED_FILE.findall(text)]
        named += [(os.path.dirname(os.path.join(ROOT, document)), path)
                  for path in LINK.findall(text)]
        for folder, pattern in named:
            missing += [f"{document} names {path}, which does not exist"
                        for path in variants(pattern) if not glob.glob(os.path.join(folder, path))]
        missing += [f"{document} names {field}, which INFO does not have"
                    for field in INFO_FIELD.findall(text) if f'"{field}"' not in info]
    return missing


def main():
    if sys.argv[1:] not in (["--check"], ["--write"]):
        sys.exit(__doc__)
    with open(README, encoding="utf-8") as file:
        text = file.read()
    fresh = with_tables(text)
    if sys.argv[1] == "--write":
        if fresh == text:
            print("README.md is up to date")
            return
        with open(README, "w", encoding="utf-8") as file:
            file.write(fresh)
        print("README.md: tables brought up to date")
        return
    wrong = missing_names()
    if fresh != text:
        wrong.append("README.md's tables are stale: run ./dev docs and commit the result")
    if wrong:
        sys.exit("\n".join(wrong))
    print("the documents agree with the program")


main()
