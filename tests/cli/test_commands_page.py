"""docs/reference/commands.md says what the command line does: every command, option and exit code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from backstory import errors
from backstory.cli.exit_codes import INPUT, MEANINGS, exit_code
from backstory.cli.main import COMMANDS, build_app
from backstory.cli.options import ARCHIVE_VARIABLE

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text("utf-8")


def table(heading):
    """Return the rows of the table under a heading."""
    part = PAGE.split(f"# {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_command_is_there():
    """The page lists exactly the commands there are, in the order of `--help`."""
    assert [re.match(r"`([a-z-]+)", row[0])[1] for row in table("Commands")] == list(COMMANDS)


def test_every_option_is_there():
    """The page lists exactly the options there are."""
    app = build_app()
    collections = [app[name].assemble_argument_collection() for name in COMMANDS]
    names = {name for arguments in collections for argument in arguments for name in argument.names}
    options = {name for name in names if name.startswith("-")}
    listed = {name for row in table("Options") for name in re.findall(r"`(-[a-z-]+)`", row[0])}
    assert listed == options - {"--into", "--no-replace"}  # of `demo`: given by its place, and the default


def test_exit_codes_are_the_documented_ones():
    """The page's table has every exit code with the meaning `--help` gives."""
    assert {int(row[0]): row[1] for row in table("Exit codes")} == MEANINGS


def test_every_error_stands_beside_its_code():
    """Each error's name stands in the row of its exit code."""
    codes = {name: int(row[0]) for row in table("Exit codes") for name in re.findall(r"`([a-z-]+)`", row[2])}
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    expected = {error.code: exit_code(error) for error in classes}
    assert codes == expected | {"usage": INPUT, "interrupted": 130}


def test_variable_is_named():
    """The page names the environment variable."""
    assert f"`{ARCHIVE_VARIABLE}`" in PAGE
