#!/usr/bin/env python3
"""Finds import cycles between the source files of each crate.

  tests/module_cycles.py              checks all crates of the workspace; the exit status is 1 if there is a cycle
  tests/module_cycles.py --self-test  checks crates with planted cycles instead

File A imports file B if a path in A that begins with `crate`, `super` or `self` leads to an item of B, directly or
through a `use` in another file. Imports between a module and the modules inside it do not count, and neither do unit
tests. Two files of the same folder may import each other: such a pair is printed, but it is not an error.
"""
import os
import re
import subprocess
import sys
import tempfile

NOT_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|\bb?r(\#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'""", re.DOTALL)
TEST_ITEM = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\][^{;]*")
USE = re.compile(r"\buse\s+([^;]+);")
PATH = re.compile(r"\b(?:crate|super|self)(?:\s*::\s*[A-Za-z_]\w*)+")


def without_tests(text):
    """Returns the code without comments, strings and unit tests, and the names of modules that are only for tests."""
    text = NOT_CODE.sub(" ", text)
    test_modules = set()
    while item := TEST_ITEM.search(text):
        end = item.end()
        if text[end : end + 1] == "{":
            depth = 1
            while depth and end + 1 < len(text):
                end += 1
                depth += {"{": 1, "}": -1}.get(text[end], 0)
        elif name := re.search(r"\bmod\s+(\w+)\s*$", item[0]):
            test_modules.add(name[1])
        text = text[: item.start()] + text[end + 1 :]
    return text, test_modules


def use_tree(tokens):
    """Yields (path, name) for each name that the tree of a `use` brings into scope."""
    path = []
    while tokens and tokens[0] not in ",}":
        token = tokens.pop(0)
        if token == "{":
            while tokens[0] != "}":
                for inner, name in use_tree(tokens):
                    yield path + inner, name
                if tokens[0] == ",":
                    tokens.pop(0)
            tokens.pop(0)
            return
        if token == "as":
            yield path, tokens.pop(0)
            return
        if token != "::":
            path.append(token)
    if path[-1] == "self" and len(path) > 1:
        path = path[:-1]
    yield path, path[-1]


class Crate:
    def __init__(self, folder):
        self.code, test_modules = {}, set()
        source = os.path.join(folder, "src")
        for parent, _, files in os.walk(source):
            for file in files:
                if file.endswith(".rs"):
                    path = os.path.join(parent, file)
                    parts = os.path.relpath(path, source)[:-3].split(os.sep)
                    module = tuple(parts[:-1] if parts[-1] in ("lib", "main", "mod") else parts)
                    with open(path, encoding="utf-8") as text:
                        code, tests = without_tests(text.read())
                    self.code[module] = self.code.get(module, "") + code
                    test_modules |= {(*module, name) for name in tests}
        for module in list(self.code):
            if any(module[: len(test)] == test for test in test_modules):
                del self.code[module]
        self.scopes = {module: dict(self.uses(module)) for module in self.code}

    def uses(self, module):
        """Yields each name that a `use` of the module brings into scope, with the path that it stands for."""
        for use in USE.finditer(self.code[module]):
            for path, name in use_tree(re.findall(r"\w+|::|[{},*]", use[1])):
                if absolute := self.absolute(module, path):
                    yield name, absolute

    def absolute(self, module, path):
        """Returns the path from the crate's root, or None if it leads to another crate."""
        if path[0] == "crate":
            return tuple(path[1:])
        if path[0] not in ("self", "super"):
            return (*module, *path) if (*module, path[0]) in self.code else None
        path = list(path)
        while path and path[0] in ("self", "super"):
            module = module[:-1] if path.pop(0) == "super" else module
        return (*module, *path)

    def file_of(self, path):
        """Returns the module whose file has the item, after following `use` items of other modules."""
        for _ in range(10):
            module = path
            while module not in self.code:
                module = module[:-1]
            rest = path[len(module) :]
            if not rest or rest[0] not in self.scopes[module]:
                break
            path = (*self.scopes[module][rest[0]], *rest[1:])
        return module

    def imports(self, module):
        paths = [re.split(r"\s*::\s*", path) for path in PATH.findall(self.code[module])]
        found = {self.file_of(self.absolute(module, path)) for path in paths}
        found |= {self.file_of(path) for path in self.scopes[module].values()}
        related = lambda other: other[: len(module)] == module or module[: len(other)] == other
        return {other for other in found if not related(other)}

    def cycles(self):
        """Returns the groups of modules that reach each other, each of them sorted."""
        graph = {module: self.imports(module) for module in self.code}
        reached = {}
        for start in graph:
            reached[start], todo = set(), [start]
            while todo:
                new = graph[todo.pop()] - reached[start]
                reached[start] |= new
                todo += new
        groups = {
            tuple(sorted(other for other in reached[module] if module in reached[other]))
            for module in graph
            if module in reached[module]
        }
        return sorted(groups)


def is_allowed(cycle):
    return len(cycle) == 2 and cycle[0][:-1] == cycle[1][:-1]


def names(cycle):
    return ", ".join("::".join(module) for module in cycle)


def check():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    listed = subprocess.run(["git", "ls-files", "*Cargo.toml"], capture_output=True, text=True).stdout.split()
    if not listed:  # An archive of the source has no repository.
        for parent, folders, files in os.walk("."):
            folders[:] = [name for name in folders if name not in ("target", "node_modules")]
            listed += [os.path.relpath(os.path.join(parent, name)) for name in files if name == "Cargo.toml"]
    crates = sorted(os.path.dirname(path) for path in listed if os.path.isdir(os.path.join(os.path.dirname(path), "src")))
    assert crates, "there should be crates"
    failed = False
    for folder in crates:
        for cycle in Crate(folder).cycles():
            if is_allowed(cycle):
                verdict = "allowed, a pair in one folder"
            else:
                verdict, failed = "NOT ALLOWED", True
            print(f"{folder}: cycle of {len(cycle)} files ({verdict}): {names(cycle)}")
    return failed


# Each case: the files of a crate, and the cycles in it.
PLANTED = [
    ({"a": "use crate::b::X;", "b": "fn f() { crate::c::g() }", "c": "use super::a::Y;"}, ["a, b, c"]),
    ({"a": "use crate::{d::Z, b::{self, X as W}};", "b": "use super::a;", "d": ""}, ["a, b"]),
    # Through re-exports, one of them in the root.
    ({"lib": "pub use b::X;", "a": "use crate::X;", "b": "use super::c::Y;", "c": "pub use crate::a::Y;"}, ["a, b"]),
    ({"a": "use crate::b::c::X;", "b": "", "b/c": "use crate::a::Y;"}, ["a, b::c"]),
    # A parent and its child, a unit test, a file of unit tests, a comment, a text.
    ({"a": "use self::b::X;", "a/b": "use super::Y;"}, []),
    ({"a": "use crate::b::X;", "b": "#[cfg(test)]\nmod tests { use crate::a::Y; fn f() {} }"}, []),
    ({"a": "use crate::b::X;", "b": "#[cfg(test)]\nmod tests;", "b/tests": "use crate::a::Y;"}, []),
    ({"a": "use crate::b::X;", "b": '// crate::a::Y\nconst C: &str = "crate::a::Y";'}, []),
]


def self_test():
    for files, expected in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            for name, code in files.items():
                path = os.path.join(folder, "src", name + ".rs")
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(code)
            if "lib" not in files:
                open(os.path.join(folder, "src", "lib.rs"), "w", encoding="utf-8").close()
            found = [names(cycle) for cycle in Crate(folder).cycles()]
            assert found == expected, f"{files}: found {found}, expected {expected}"
    assert is_allowed((("a",), ("b",))) and is_allowed((("d", "a"), ("d", "b")))
    assert not is_allowed((("a",), ("b", "c"))) and not is_allowed((("a",), ("b",), ("c",)))
    print(f"{len(PLANTED)} planted crates: every cycle was found, and nothing else")


if sys.argv[1:] == ["--self-test"]:
    self_test()
elif sys.argv[1:]:
    sys.exit(__doc__)
else:
    sys.exit(check())
