"""The house rules about includes, as functions over a tree of files.

`violations(root)` returns one sentence per broken rule. What may include what
is the table of folders below: the arrows of docs/architecture.md.
"""

import pathlib
import re
import typing

SOURCE_FOLDERS = ("base", "scheduler", "model", "sharding", "server", "bench",
                  "tests")
SUFFIXES = (".h", ".cc", ".cu", ".cuh")

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)

# What an include that is not ours belongs to; the first match counts.
LIBRARIES = (
    ("openssl", re.compile(r"^openssl/")),
    ("torch", re.compile(r"^(ATen|c10|torch|caffe2)/")),
    ("rpc", re.compile(r"^(google/protobuf|grpc|grpcpp|grpc\+\+)/|\.pb\.h$")),
    ("prometheus", re.compile(r"^prometheus/")),
    ("civetweb", re.compile(r"^(civetweb|CivetServer)\.h$")),
    ("sentencepiece", re.compile(r"^sentencepiece")),
    ("spdlog", re.compile(r"^spdlog/")),
    ("cli", re.compile(r"^CLI/")),
    ("json", re.compile(r"^nlohmann/")),
    ("pcre2", re.compile(r"^pcre2\.h$")),
    ("icu", re.compile(r"^unicode/")),
    ("absl", re.compile(r"^absl/")),
    ("test", re.compile(r"^(gtest|gmock|benchmark)/")),
)


class Rule(typing.NamedTuple):
    """What the files of a folder may include.

    `folders` are ours that a file may name itself; `libraries` are those of
    others that it may reach, also through our headers.
    """

    folders: frozenset
    libraries: frozenset


def _rule(folders, libraries):
    return Rule(frozenset(folders.split()), frozenset(libraries.split()))


# The longest prefix of a file's path that is named here gives its rule. The
# standard library and POSIX are free for all.
RULES = {
    "base":
        _rule("base", "absl spdlog"),
    "scheduler":
        _rule("base scheduler", "absl"),
    "model/tokenizer":
        _rule("base model/tokenizer",
              "absl spdlog json sentencepiece pcre2 icu"),
    "model":
        _rule("base scheduler model model/tokenizer sharding/ranks",
              "absl spdlog json torch"),
    # What ranks have of a model and do together: the model is built on it, and
    # it knows a model's shape.
    "sharding/ranks":
        _rule("base model sharding/ranks", "absl"),
    # What router and ranks on several hosts say to each other, and how.
    "sharding/hosts":
        _rule("base scheduler model proto sharding sharding/ranks "
              "sharding/hosts",
              "absl json rpc openssl"),
    "sharding":
        _rule("base scheduler model proto sharding sharding/ranks "
              "sharding/hosts",
              "absl spdlog json rpc"),
    # The worker's main joins the model (torch) with a service whose header
    # keeps gRPC to itself.
    **{
        f"sharding/{file}":
            _rule("base scheduler model sharding sharding/ranks "
                  "sharding/hosts",
                  "absl cli spdlog json torch")
        for file in ("group_member.h", "group_member.cc", "shard_flags.h",
                     "shard_flags.cc", "shard_main.cc")
    },
    "server":
        _rule("base scheduler model model/tokenizer proto sharding "
              "sharding/ranks sharding/hosts server",
              "absl cli spdlog json rpc prometheus civetweb openssl"),
}

# Two libraries that must not meet in one translation unit, and why.
ENEMIES = (
    ("torch", "rpc", "LibTorch brings headers of another protobuf"),
    ("sentencepiece", "absl", "sentencepiece bundles an Abseil of its own"),
)


def includes(text):
    """The names that a file's text includes, in order."""
    return INCLUDE.findall(text)


def library_of(name):
    """Whose header `name` is; None for the standard library and POSIX."""
    for library, pattern in LIBRARIES:
        if pattern.search(name):
            return library
    return None


class Tree:
    """The C++ files below a root, each with what it includes."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.texts = {}
        for folder in SOURCE_FOLDERS:
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in SUFFIXES:
                    name = path.relative_to(self.root).as_posix()
                    self.texts[name] = path.read_text(encoding="utf-8")
        self.includes = {n: includes(t) for n, t in self.texts.items()}

    def reached_libraries(self, name):
        """Library -> the chain of files by which `name` first reaches it."""
        reached = {}
        seen = {name}
        queue = [(name, [name])]
        while queue:
            current, chain = queue.pop(0)
            for included in self.includes[current]:
                if included in self.includes:
                    if included not in seen:
                        seen.add(included)
                        queue.append((included, chain + [included]))
                else:
                    reached.setdefault(library_of(included),
                                       chain + [included])
        reached.pop(None, None)
        return reached


def _longest_prefix(name, prefixes):
    matches = [p for p in prefixes if name == p or name.startswith(p + "/")]
    return max(matches, key=len, default=None)


def _folder_of(name):
    return _longest_prefix(name, [p for p in RULES if "." not in p] +
                           ["proto", "tests", "bench"])


def _broken_arrows(tree, name, rule):
    for included in tree.includes[name]:
        folder = _folder_of(included)
        if folder and folder not in rule.folders:
            yield f"{name} includes {included}: no arrow leads to {folder}/"


def _broken_libraries(name, rule, reached):
    for library, chain in reached.items():
        if library not in rule.libraries:
            yield f"{name} reaches {library}: {' -> '.join(chain)}"


def _enemies_met(name, reached):
    for first, second, why in ENEMIES:
        if first in reached and second in reached:
            yield (f"{name} reaches both {first} and {second} ({why}): "
                   f"{' -> '.join(reached[first])}; "
                   f"{' -> '.join(reached[second])}")


def _missing_guard(name, text):
    if name.endswith(".h") and "#pragma once" not in text:
        yield f"{name} lacks #pragma once"


def _torch_for_nvcc(name, reached):
    if name.endswith((".cu", ".cuh")) and "torch" in reached:
        yield (f"{name}, compiled by nvcc, reaches torch: "
               f"{' -> '.join(reached['torch'])}")


def violations(root):
    """One sentence for each broken rule below `root`."""
    tree = Tree(root)
    found = []
    for name, text in tree.texts.items():
        reached = tree.reached_libraries(name)
        found += _enemies_met(name, reached)
        found += _missing_guard(name, text)
        found += _torch_for_nvcc(name, reached)
        prefix = _longest_prefix(name, RULES)
        if prefix:
            found += _broken_arrows(tree, name, RULES[prefix])
            found += _broken_libraries(name, RULES[prefix], reached)
    return found
