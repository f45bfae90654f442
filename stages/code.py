"""List all code that each stage runs, so that DVC reruns a stage for an edit of its own code alone.

stages/, validators/ -> .build/code/<stage>, .build/code/kinds/<kind>, .build/code/rewards/<function>, .build/code/measures/<what>

    9b02c4...  stages/curate.py
    51fe07...  stages/dedup/near_duplicates.py

Each list has the format of `sha256sum`, sorted by path. A hash is of the source without comments, docstrings and blank
lines: an edit of those runs this stage and no other. What is left is hashed as it stands, as neither `ast.dump` nor
`ast.unparse` gives the same text on every Python. Files that are no Python (SQL, templates, styles) count as bytes, and
belong to every module of their folder.

`validators/rewards.py` is in no stage's list. Each of its functions has a list of its own, with all that it calls;
preflight hands the hashes of these lists on to the steps and scores that use the function.

`measures/` are parts of the lists of `evaluate` and `difficulty`: the code that asks a model. Where only other parts of those
lists are edited, the stage runs, finds what it measured before, and loads no model (`stages/scoring/measurement_cache.py`, `sample_cache.py`).
"""

import ast
import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

from validators.problems import Problem, Problems

OUT = Path(".build/code")
ROOMS = ("stages", "validators")
KINDS = ("sft", "preference", "kto", "grpo")
REWARDS = "validators/rewards.py"
MEASURES = ("answers", "harness", "local_judge", "samples")  # modules of stages/scoring/
# Modules that are imported by a name made at run time, which no closure sees: {where: what it may import}.
BY_NAME = {
    "stages/__main__.py": (),  # a stage: each has a list of its own
    "stages/validate.py": (),  # a validator: each kind has a list of its own
    "stages/rows/checks.py": (),  # no stage runs it
}


def main():
    write_lists(list_code())


def write_lists(listed, folder=OUT):
    """Write each list that differs from the one that is there; remove those of stages and functions that are no more."""
    wanted = {folder / name: text for name, text in listed.items()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
            print(f"code: {path} belongs to no code, deleted")
    for path, text in wanted.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"code: {path} changed")


def list_code(root=Path()):
    """{name: text} of every list. Raises Problems with every module that is not Python."""
    tree = Tree(root)
    modules = sorted(path.relative_to(root).as_posix() for room in ROOMS for path in (root / room).rglob("*.py"))
    problems = [problem for module in modules for problem in tree.problems(module)]
    if problems:
        raise Problems(problems)
    listed = {}
    for stage in sorted(path.stem for path in (root / "stages").glob("[a-z]*.py")):
        if stage != "code":
            listed[stage] = list_text(tree.hashes(f"stages/{stage}.py"))
    for kind in KINDS:
        listed[f"kinds/{kind}"] = list_text(tree.hashes(f"validators/{kind}.py"))
    for name in MEASURES:
        if (module := root / f"stages/scoring/{name}.py").is_file():
            listed[f"measures/{name}"] = list_text(tree.hashes(module.relative_to(root).as_posix()))
    for name, hashes in reward_hashes(tree).items():
        listed[f"rewards/{name}"] = list_text(hashes)
    return listed


def reward_code(listed):
    """{reward function: sha256 of its list}, as stages read it from the lists that are written."""
    found = {name.removeprefix("rewards/"): text for name, text in listed.items() if name.startswith("rewards/")}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in found.items()}


def list_text(hashes):
    """A list as text. hashes: {path: sha256}."""
    return "".join(f"{found}  {path}\n" for path, found in sorted(hashes.items()))


def parse_list(text):
    """{path: sha256} of a list."""
    return {path: found for found, _, path in (line.partition("  ") for line in text.splitlines())}


# -- what a module needs ----------------------------------------------------------------------------------------------


class Tree:
    """The modules below a folder: what each imports, and its hash. Paths are relative to the folder, with `/`."""

    def __init__(self, root=Path()):
        self.root = Path(root)
        self.source = cache(lambda module: (self.root / module).read_bytes())
        self.syntax = cache(lambda module: ast.parse(self.source(module)))
        self.sha256 = cache(self.sha256)
        self.others_in = cache(self.others_in)

    def problems(self, module):
        """Why a module cannot be listed: it is not Python, or it imports a module that no list holds."""
        try:
            self.syntax(module)
        except (SyntaxError, ValueError) as error:
            where = f"{module}:{getattr(error, 'lineno', None) or 1}"
            return [Problem(where, f"does not parse: {getattr(error, 'msg', error)}", "Python", "mend it, or git diff")]
        outside = (name for name in self.imports(module) if name.split(".")[0] not in ROOMS)
        return [
            Problem(module, f"imports {name}, which no stage depends on", "modules below stages/ or validators/", "")
            for name in sorted(outside)
            if (self.root / f"{name.replace('.', '/')}.py").is_file()
        ]

    def imports(self, module):
        """Names of all that a module imports, at its top or in a function, with dots."""
        return {name for node in ast.walk(self.syntax(module)) for name in names_imported_by(node, module)}

    def paths_of(self, name):
        """The modules that run where a name with dots is imported: the module, and packages around it that hold code."""
        parts = name.split(".")
        packages = ["/".join([*parts[:end], "__init__.py"]) for end in range(1, len(parts) + 1)]
        found = [path for path in packages if (self.root / path).is_file() and (self.root / path).stat().st_size]
        module = f"{'/'.join(parts)}.py"
        return [*found, *([module] if (self.root / module).is_file() else [])] if parts[0] in ROOMS else []

    def closure(self, *modules):
        """The modules that some modules need to run, themselves included; without reward functions."""
        found, todo = set(modules), list(modules)
        while todo:
            module = todo.pop()
            names = {*self.imports(module), *BY_NAME.get(module, ())}
            new = {path for name in names for path in self.paths_of(name)} - found - {REWARDS}
            found |= new
            todo += sorted(new)
        return found

    def hashes(self, *modules):
        """{path: sha256} of what some modules need to run: their closure, and the other files of its folders."""
        closure = self.closure(*modules)
        others = {file for module in closure for file in self.others_in(Path(module).parent.as_posix())}
        return {path: self.sha256(path) for path in closure | others}

    def sha256(self, path):
        if not path.endswith(".py"):
            return hashlib.sha256(self.source(path)).hexdigest()
        return sha256_of(code_lines(self.source(path)).values())

    def others_in(self, folder):
        """The files of a folder that are no Python, also those of folders below it that hold no module."""
        found = []
        for path in sorted((self.root / folder).iterdir()):
            if path.is_dir() and path.name != "__pycache__" and not any(path.rglob("*.py")):
                found += self.others_in(path.relative_to(self.root).as_posix())
            elif path.is_file() and path.suffix not in (".py", ".pyc", ".partial") and path.name[0] != ".":
                found.append(path.relative_to(self.root).as_posix())
        return found


def names_imported_by(node, module):
    """Names with dots that one node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = module.removesuffix(".py").split("/")[: -node.level] if node.level else []
    package = ".".join([*above, *([node.module] if node.module else [])])
    return [package, *(f"{package}.{alias.name}" for alias in node.names)]


# -- source without what changes nothing ------------------------------------------------------------------------------


def sha256_of(lines):
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def code_lines(source):
    """{line number: text} of a module's source (bytes): no comments, docstrings, blank lines, or spaces at line ends."""
    text = source.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.encode() for line in text.split("\n")]  # `ast` counts columns in bytes
    tree = ast.parse(text)
    cuts = [*docstrings(tree), *comments(text, lines)]
    for first, start, last, end in sorted(cuts, reverse=True):
        lines[first] = lines[first][:start] + lines[last][end:]
        for number in range(first + 1, last + 1):
            lines[number] = b""
    inside = lines_inside_texts(tree)
    kept = {}
    for number, line in enumerate(lines):
        line = line if number in inside else line.rstrip()
        if line or number in inside:
            kept[number + 1] = line.decode()
    return kept


def docstrings(tree):
    """(first line, column, last line, column) of each docstring; lines from 0, columns in bytes."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        first = node.body[0] if isinstance(node, kinds) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            yield first.lineno - 1, first.col_offset, first.end_lineno - 1, first.end_col_offset


def comments(text, lines):
    """(line, column, line, column) of each comment; lines from 0, columns in bytes."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            number = token.start[0] - 1
            start = len(lines[number].decode()[: token.start[1]].encode())
            yield number, start, number, start + len(token.string.encode())


def lines_inside_texts(tree):
    """The lines, from 0, at whose end a text goes on: spaces and blank lines are part of it. Docstrings are none."""
    skipped = {(first + 1, start) for first, start, *_ in docstrings(tree)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr))
    return {
        number
        for node in texts
        if (node.lineno, node.col_offset) not in skipped
        for number in range(node.lineno - 1, node.end_lineno - 1)
    }


# -- reward functions -------------------------------------------------------------------------------------------------


def reward_hashes(tree):
    """{function: {path: sha256}} of each public function of validators/rewards.py, with all that it calls.

    A part of the module stands as `validators/rewards.py:<name>`; a module that it imports, with its closure.
    """
    syntax, lines = tree.syntax(REWARDS), code_lines(tree.source(REWARDS))
    parts = {}
    for node in syntax.body:
        for name in names_bound_by(node):
            parts.setdefault(name, []).append(node)
    functions = [node.name for node in syntax.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    found = {}
    for function in functions:
        names = parts_needed_by(function, parts)
        found[function] = {f"{REWARDS}:{name}": sha256_of(source_lines(parts[name], lines)) for name in names}
        imported = {name for part in names for node in parts[part] for name in names_imported_by(node, REWARDS)}
        modules = {path for name in imported for path in tree.paths_of(name)} - {REWARDS}
        found[function] |= tree.hashes(*modules) if modules else {}
    return found


ANY_NAME = "*"  # statements that may do anything to what follows


def names_bound_by(node):
    """The names that a statement of a module binds; EVERYWHERE for one that is no plain definition."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        return [ANY_NAME if name == "*" else name for name in names]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        stored = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        return [part.id for part in stored if isinstance(part.ctx, ast.Store)] or [ANY_NAME]
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return [] if docstring else [ANY_NAME]


def parts_needed_by(function, parts):
    """The names of a module's parts that a function needs, itself included. parts: {name: its statements}."""
    found, todo = set(), [function, *([ANY_NAME] if ANY_NAME in parts else [])]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            used = (part.id for node in parts[name] for part in ast.walk(node) if isinstance(part, ast.Name))
            todo += [each for each in used if each in parts]
    return found


def source_lines(nodes, lines):
    """The lines of some statements, decorators included."""
    for node in nodes:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        yield from (lines[number] for number in range(first, node.end_lineno + 1) if number in lines)
