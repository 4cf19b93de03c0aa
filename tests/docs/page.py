"""Running a page of the documentation: its blocks in order, as printed, in one namespace and one directory.

The languages of blocks:

- `python`: run statement by statement. A comment `# -> text` after a statement says what it gives: its value as text,
  or what it prints. `...` stands for anything; line breaks and runs of spaces are the same.
- `console`: lines after `$ ` are run by a shell, and must succeed; the lines below one are what it prints.
- `sh`: sets up a machine (installing, `make`); not run here.
- `text`: not code.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import re
import subprocess
import tokenize
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

LANGUAGES = frozenset({"console", "python", "sh", "text"})
EXPECTED = "# -> "
COMMAND = "$ "
_FENCE = re.compile(r"^```(\S*)$(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        language: What stands behind the fence.
        line: Line of the page its first line stands on, from 1.
        text: What is between the fences.
    """

    language: str
    line: int
    text: str


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(language=match[1], line=text.count("\n", 0, match.start()) + 2, text=match[2].removeprefix("\n"))
        for match in _FENCE.finditer(text)
    ]


def run_page(page: Path, folder: Path) -> ModuleType:
    """Run a page's blocks in the current directory and return the module they filled.

    Args:
        page: The page.
        folder: Where its Python goes as a module, with the page's line numbers.

    Raises:
        AssertionError: Something gave another result than the page says.
    """
    module = ModuleType(page.stem.replace("-", "_"))
    module.__file__ = str(folder / f"{module.__name__}.py")
    blocks = read_blocks(page)
    code = [block for block in blocks if block.language == "python"]
    Path(module.__file__).write_text(_at_their_lines(code), "utf-8")  # tracebacks and `inspect` read it
    for block in blocks:
        if block.language == "python":
            _run_python(block, module)
        elif block.language == "console":
            _run_console(block, page)
    return module


def _at_their_lines(blocks: list[Block]) -> str:
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def _run_python(block: Block, module: ModuleType) -> None:
    file = str(module.__file__)
    tree = ast.parse("\n" * (block.line - 1) + block.text, file)
    wanted = _wanted(block, tree)
    for statement in tree.body:
        printed = io.StringIO()
        value = None
        if isinstance(statement, ast.ImportFrom | ast.Import):
            importlib.invalidate_caches()  # a page may have written the module a moment ago
        with contextlib.redirect_stdout(printed):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), file, "eval"), module.__dict__)
            else:
                exec(compile(ast.Module([statement], []), file, "exec"), module.__dict__)
        if statement in wanted:
            got = printed.getvalue() if value is None else str(value)
            compare(wanted[statement], got, f"{file}:{statement.lineno}")


def _wanted(block: Block, tree: ast.Module) -> dict[ast.stmt, str]:
    """Return what the page says statements give: the comments behind and below each."""
    wanted: dict[ast.stmt, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(block.text).readline):
        if token.type == tokenize.COMMENT and token.string.startswith(EXPECTED):
            line = token.start[0] + block.line - 1
            statement = [statement for statement in tree.body if statement.lineno <= line][-1]
            wanted[statement] = wanted.get(statement, "") + token.string.removeprefix(EXPECTED) + "\n"
    return wanted


def _run_console(block: Block, page: Path) -> None:
    for part in re.split(rf"^{re.escape(COMMAND)}", block.text, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        where = f"{page.name}: {command}"
        assert done.returncode == 0, f"{where}\n{done.stdout}"
        if wanted.strip():
            compare(wanted, done.stdout, where)


def compare(wanted: str, got: str, where: str) -> None:
    """Insist that text is as the page says, loosely.

    Raises:
        AssertionError: It is not.
    """
    same = doctest.OutputChecker().check_output(wanted, got.rstrip("\n") + "\n", _LOOSELY)
    assert same, f"{where}\nthe page says:\n{wanted}\nit gives:\n{got}"
