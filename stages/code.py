"""List all code that each stage runs, so that DVC reruns a stage for an edit of its own code alone.

stages/, validators/ -> .build/code/<stage>, .build/code/kinds/<kind>, .build/code/rewards/<function>, .build/code/measures/<what>

    9b02c4...  stages/curate.py
    51fe07...  stages/dedup/near_duplicates.py

Each list has the format of `sha256sum`, sorted by path. A hash is of the source without comments, docstrings and blank
lines: an edit of those runs this stage and no other. The other lines are hashed as text, as neither `ast.dump` nor
`ast.unparse` gives the same text on every Python. Other files (SQL, templates, styles) count as bytes, and
belong to every module of their folder.

`validators/rewards.py` is in no stage's list. Each of its functions has a list of its own, with all that it calls;
preflight writes the hashes of these lists into the steps and scores that use the function.

`measures/` are parts of the lists of `evaluate` and `difficulty`: the code that asks a model. After an edit of other code of those
lists, the stage runs, reuses its earlier measurements, and loads no model (`stages/scoring/measurement_cache.py`, `sample_cache.py`).
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from validators.problems import Problem, Problems

OUT = Path(".build/code")
ROOMS = ("stages", "validators")
KINDS = ("sft", "preference", "kto", "grpo")
REWARDS = "validators/rewards.py"
MEASURES = ("answers", "harness", "local_judge", "samples")  # modules of stages/scoring/
# Modules that import by a name made at run time, which `Tree.closure` cannot see: {module: names that it may import}.
BY_NAME: dict[str, tuple[str, ...]] = {
    "stages/__main__.py": (),  # a stage: each has a list of its own
    "stages/validate.py": (),  # a validator: each kind has a list of its own
    "stages/rows/checks.py": (),  # no stage runs it
}
Place = tuple[int, int, int, int]  # (first line, column, last line, column); lines from 0, columns in bytes


def main() -> None:
    write_lists(list_code())


def write_lists(listed: Mapping[str, str], folder: Path = OUT) -> None:
    """Write each list that has changed; delete those of stages and functions that no longer exist."""
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


def list_code(root: Path = Path()) -> dict[str, str]:
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


def reward_code(listed: Mapping[str, str]) -> dict[str, str]:
    """{reward function: sha256 of its list}, as stages read it from the written lists."""
    rewards = {name.removeprefix("rewards/"): text for name, text in listed.items() if name.startswith("rewards/")}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in rewards.items()}


def list_text(hashes: Mapping[str, str]) -> str:
    """A list as text. hashes: {path: sha256}."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(hashes.items()))


def parse_list(text: str) -> dict[str, str]:
    """{path: sha256} of a list."""
    return {path: sha256 for sha256, _, path in (line.partition("  ") for line in text.splitlines())}


# -- what a module needs ----------------------------------------------------------------------------------------------


class Tree:
    """The modules below a folder: what each imports, and its hash. Paths are relative to the folder, with `/`."""

    def __init__(self, root: Path | str = Path()) -> None:
        self.root = Path(root)
        self.source: Callable[[str], bytes] = cache(lambda path: (self.root / path).read_bytes())
        self.syntax: Callable[[str], ast.Module] = cache(lambda module: ast.parse(self.source(module)))
        self.sha256: Callable[[str], str] = cache(self._sha256)
        self.others_in: Callable[[str], list[str]] = cache(self._others_in)

    def problems(self, module: str) -> list[Problem]:
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

    def imports(self, module: str) -> set[str]:
        """Dotted names of all that a module imports when it runs, at its top or in a function."""
        return {name for node in nodes_that_run(self.syntax(module)) for name in names_imported_by(node, module)}

    def paths_of(self, name: str) -> list[str]:
        """The modules that run where a dotted name is imported: the module, and packages around it that hold code."""
        parts = name.split(".")
        packages = ["/".join([*parts[:end], "__init__.py"]) for end in range(1, len(parts) + 1)]
        paths = [path for path in packages if (self.root / path).is_file() and (self.root / path).stat().st_size]
        module = f"{'/'.join(parts)}.py"
        return [*paths, *([module] if (self.root / module).is_file() else [])] if parts[0] in ROOMS else []

    def closure(self, *modules: str) -> set[str]:
        """The modules that some modules need to run, themselves included; without reward functions."""
        needed, todo = set(modules), list(modules)
        while todo:
            module = todo.pop()
            names = {*self.imports(module), *BY_NAME.get(module, ())}
            new = {path for name in names for path in self.paths_of(name)} - needed - {REWARDS}
            needed |= new
            todo += sorted(new)
        return needed

    def hashes(self, *modules: str) -> dict[str, str]:
        """{path: sha256} of what some modules need to run: their closure, and the other files of its folders."""
        closure = self.closure(*modules)
        others = {file for module in closure for file in self.others_in(Path(module).parent.as_posix())}
        return {path: self.sha256(path) for path in closure | others}

    def _sha256(self, path: str) -> str:
        if not path.endswith(".py"):
            return hashlib.sha256(self.source(path)).hexdigest()
        return sha256_of(code_lines(self.source(path)).values())

    def _others_in(self, folder: str) -> list[str]:
        """The files of a folder that are not Python, also those of folders below it without a module."""
        others = []
        for path in sorted((self.root / folder).iterdir()):
            if path.is_dir() and path.name != "__pycache__" and not any(path.rglob("*.py")):
                others += self.others_in(path.relative_to(self.root).as_posix())
            elif path.is_file() and path.suffix not in (".py", ".pyc", ".partial") and path.name[0] != ".":
                others.append(path.relative_to(self.root).as_posix())
        return others


def nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, without the bodies of `if TYPE_CHECKING:`, which only type checkers read."""
    yield node
    types_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for child in node.orelse if types_only else ast.iter_child_nodes(node):
        yield from nodes_that_run(child)


def names_imported_by(node: ast.AST, module: str) -> list[str]:
    """Dotted names that one node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = module.removesuffix(".py").split("/")[: -node.level] if node.level else []
    package = ".".join([*above, *([node.module] if node.module else [])])
    return [package, *(f"{package}.{alias.name}" for alias in node.names)]


# -- source without comments ------------------------------------------------------------------------------------------


def sha256_of(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def code_lines(source: bytes) -> dict[int, str]:
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
    code = {}
    for number, line in enumerate(lines):
        line = line if number in inside else line.rstrip()
        if line or number in inside:
            code[number + 1] = line.decode()
    return code


def docstrings(tree: ast.Module) -> Iterator[Place]:
    """The Place of each docstring."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        first = node.body[0] if isinstance(node, kinds) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            yield first.lineno - 1, first.col_offset, last_line(first) - 1, first.end_col_offset or 0


def last_line(node: ast.stmt | ast.expr) -> int:
    return node.end_lineno or node.lineno  # `ast.parse` always sets it


def comments(text: str, lines: list[bytes]) -> Iterator[Place]:
    """The Place of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            number = token.start[0] - 1
            start = len(lines[number].decode()[: token.start[1]].encode())
            yield number, start, number, start + len(token.string.encode())


def lines_inside_texts(tree: ast.Module) -> set[int]:
    """The lines, from 0, at whose end a text continues: their spaces and blank lines count. Docstrings are not texts here."""
    skipped = {(first + 1, start) for first, start, *_ in docstrings(tree)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr))
    return {
        number
        for node in texts
        if (node.lineno, node.col_offset) not in skipped
        for number in range(node.lineno - 1, last_line(node) - 1)
    }


# -- reward functions -------------------------------------------------------------------------------------------------


def reward_hashes(tree: Tree) -> dict[str, dict[str, str]]:
    """{function: {path: sha256}} of each public function of validators/rewards.py, with all that it calls.

    The path of a part of the module is `validators/rewards.py:<name>`. A module that it imports counts with its closure.
    """
    syntax, lines = tree.syntax(REWARDS), code_lines(tree.source(REWARDS))
    parts: dict[str, list[ast.stmt]] = {}
    for node in syntax.body:
        for name in names_bound_by(node):
            parts.setdefault(name, []).append(node)
    functions = [node.name for node in syntax.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    hashes = {}
    for function in functions:
        names = parts_needed_by(function, parts)
        hashes[function] = {f"{REWARDS}:{name}": sha256_of(source_lines(parts[name], lines)) for name in names}
        imported = {name for part in names for node in parts[part] for name in names_imported_by(node, REWARDS)}
        modules = {path for name in imported for path in tree.paths_of(name)} - {REWARDS}
        hashes[function] |= tree.hashes(*modules) if modules else {}
    return hashes


ANY_NAME = "*"  # of statements that may change any name


def names_bound_by(node: ast.stmt) -> list[str]:
    """The names that a statement of a module binds; ANY_NAME for one that is not a plain definition."""
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


def parts_needed_by(function: str, parts: Mapping[str, list[ast.stmt]]) -> set[str]:
    """The names of a module's parts that a function needs, itself included. parts: {name: its statements}."""
    needed, todo = set(), [function, *([ANY_NAME] if ANY_NAME in parts else [])]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            used = (part.id for node in parts[name] for part in ast.walk(node) if isinstance(part, ast.Name))
            todo += [each for each in used if each in parts]
    return needed


def source_lines(nodes: Iterable[ast.stmt], lines: Mapping[int, str]) -> Iterator[str]:
    """The lines of some statements, decorators included."""
    for node in nodes:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        yield from (lines[number] for number in range(first, last_line(node) + 1) if number in lines)
