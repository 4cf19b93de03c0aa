"""Reading a script before it runs: lines where row ids would be lost or changed, and where a model would see too much.

The text is parsed, never run. What is known of a name is what the script says on the way to a line: that it is an
archive, a frame with row ids (from `source`, `group`, or made from one), a column of one, features from `split`. Of
what is not known nothing is said, so that a warning is worth reading; a script without warnings is not shown to be
right. `archive.audit` looks at what the steps do.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from backstory.errors import InputError
from backstory.lineage.lint_rules import Finding, finding_at

_MAKES_FRAMES = frozenset({"distinct", "group", "prepare", "source", "window"})
"""Verbs of an archive that return a frame with row ids."""
_TAKES_FRAMES = _MAKES_FRAMES | {"predict", "split"}
_STAYS_FRAME = frozenset([
    "assign", "astype", "clip", "collect", "copy", "drop", "drop_duplicates", "drop_nulls", "dropna",
    "explode", "fill_null", "fillna", "filter", "head", "join", "lazy", "merge", "pipe", "query", "rename",
    "replace", "reset_index", "sample", "set_index", "sort", "sort_index", "sort_values", "tail", "unique",
    "where", "with_columns",
])  # fmt: skip
"""Methods of a frame that return one with the same id columns."""
_ALL_COLUMNS = frozenset({"drop_duplicates", "drop_nulls", "dropna", "duplicated", "nunique", "n_unique", "unique"})
_FILLS = frozenset({"fill_null", "fillna"})
_OF_ALL_ROWS = frozenset({"max", "mean", "median", "min", "mode", "quantile", "std", "sum"})
_LOOKS_AROUND = frozenset([
    "backward_fill", "bfill", "cum_sum", "cummax", "cummin", "cumprod", "cumsum", "diff", "ewm", "expanding",
    "ffill", "forward_fill", "interpolate", "over", "pct_change", "rank", "rolling", "rolling_max",
    "rolling_mean", "rolling_min", "rolling_std", "rolling_sum", "shift", "transform",
])  # fmt: skip
_GROUPS = frozenset({"group_by", "groupby"})
_AGGREGATES = frozenset({"agg", "aggregate", "apply", "count", "first", "last", "size", "std"}) | _OF_ALL_ROWS
_TRANSFORMERS = (
    "Binarizer", "Discretizer", "Encoder", "Imputer", "Normalizer", "PCA", "PolynomialFeatures", "Scaler",
    "SelectKBest", "SelectPercentile", "Transformer", "TruncatedSVD", "VarianceThreshold", "Vectorizer",
)  # fmt: skip
"""How classes end that are fitted to data before a model is."""


@dataclass(slots=True)
class _Features:
    """Features that a split gave: the references beside them, the columns if they are known, the frame they are of."""

    rows: str | None
    columns: list[str] | None
    frame: str | None


@dataclass(slots=True)
class _Known:
    """What is known at a line, by name."""

    modules: set[str] = field(default_factory=lambda: {"backstory"})
    """Names of the package itself."""
    archives: set[str] = field(default_factory=set)
    frames: set[str] = field(default_factory=set)
    steps: set[str] = field(default_factory=set)
    transformers: set[str] = field(default_factory=set)
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of which frame a name is which column."""
    lists: dict[str, list[str]] = field(default_factory=dict)
    features: dict[str, _Features] = field(default_factory=dict)
    fitted: dict[str, ast.Call] = field(default_factory=dict)
    """Data that something was fitted to, or that came out of it."""
    stripped: dict[str, ast.expr] = field(default_factory=dict)
    """Where a frame lost its ids."""

    def forget(self, name: str) -> None:
        for names in (self.archives, self.frames, self.transformers):
            names.discard(name)
        for named in (self.columns, self.lists, self.features, self.fitted, self.stripped):
            named.pop(name, None)


def lint_script(text: str, name: str = "<script>") -> list[Finding]:
    """Return what is to be warned of in a script, in order of lines.

    Args:
        text: The script.
        name: Its name, for an error.

    Raises:
        InputError: It is no Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(f"lint: expected Python, got something else ({name}, line {line})") from None
    prepared = {
        node.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _verb(node) == "prepare" and node.args and isinstance(node.args[0], ast.Name)
    }
    reader = _Reader(prepared)
    reader.read(tree.body, _Known())
    return sorted(set(reader.findings))


class _Reader:
    """Reads statements in order and keeps what it finds."""

    def __init__(self, prepared: set[str]) -> None:
        self._prepared = prepared
        self.findings: list[Finding] = []

    def read(self, body: Sequence[ast.stmt], known: _Known) -> None:
        """Read a block; what it makes known is known after it."""
        for statement in body:
            self._read(statement, known)

    def _read(self, statement: ast.stmt, known: _Known) -> None:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            self._read_function(statement, known)
            return
        if isinstance(statement, ast.ClassDef):
            self.read(statement.body, copy.deepcopy(known))
            return
        for expression in _expressions(statement):
            self._check(expression, known)
        if isinstance(statement, ast.Import):
            known.modules |= {alias.asname or alias.name for alias in statement.names if alias.name == "backstory"}
        if isinstance(statement, ast.Assign):
            self._check_assign(statement, known)
        if isinstance(statement, ast.Return) and statement.value is not None:
            self._check_kept(statement.value, known, "a returned frame")
        for target, value in _bindings(statement):
            self._bind(target, value, known)
        without = _without_archive(statement, known)
        for block in ("body", "orelse", "finalbody"):
            # What is done where there is no archive is done to frames without ids.
            self.read(getattr(statement, block, []), _plain(known) if block == without else known)
        for block in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            self.read(block.body, known)

    def _check(self, expression: ast.expr, known: _Known) -> None:
        for node in ast.walk(expression):
            if isinstance(node, ast.Call):
                self._check_call(node, known)
            elif isinstance(node, ast.Attribute) and node.attr == "values" and _is_frame(node.value, known):
                self._warn(node, "ids-in-array", "values of a frame with row ids")

    def _read_function(self, function: ast.FunctionDef | ast.AsyncFunctionDef, known: _Known) -> None:
        names = [
            argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        ]
        is_step = any(_is_step(decorator, known) for decorator in function.decorator_list)
        inner = copy.deepcopy(known)
        for name in names:
            inner.forget(name)
            if name == "archive":
                inner.archives.add(name)
            elif is_step or function.name in self._prepared:
                inner.frames.add(name)
        if not (is_step or function.name in self._prepared):
            inner.frames.clear()
        self.read(function.body, inner)
        if is_step:
            known.steps.add(function.name)

    # --- what is warned of ---

    def _warn(self, node: ast.expr | ast.stmt, rule: str, what: str) -> None:
        self.findings.append(finding_at(node, rule, what))

    def _check_call(self, call: ast.Call, known: _Known) -> None:
        verb = _verb(call)
        self._check_fit(call, verb, known)
        if verb == "train_test_split":
            self._check_split(call, known)
        if verb == "register":
            self._check_target(call, _keyword(call, "rows"), _keyword(call, "target"), known)
        if verb == "get_dummies" and call.args and _is_frame(call.args[0], known) and not _keyword(call, "columns"):
            self._warn(call, "open-columns", "get_dummies of all columns")
        if verb in {"array", "asarray"} and call.args and _is_frame(call.args[0], known):
            self._warn(call, "ids-in-array", f"{verb} of a frame with row ids")
        if not isinstance(call.func, ast.Attribute):
            return
        owner = call.func.value
        if verb in _TAKES_FRAMES and _is_archive(owner, known):
            for argument in call.args:
                self._check_kept(argument, known, f"a frame given to {verb}")
        if _is_frame(owner, known):
            self._check_frame_method(call, verb, known)
        if _is_of_rows(owner, known):
            self._check_values(call, verb)

    def _check_frame_method(self, call: ast.Call, verb: str, known: _Known) -> None:
        """Warn of what is done to a whole frame with row ids."""
        if verb in _ALL_COLUMNS and not call.args and not (_keyword(call, "subset") or _keyword(call, "on")):
            self._warn(call, "all-columns", f"{verb}() over all columns of a frame with row ids")
        value = call.args[0] if call.args else _keyword(call, "value")
        is_scalar = value is not None and not isinstance(value, ast.Dict | ast.DictComp)
        if verb in _FILLS and is_scalar and not _has_call(value, _OF_ALL_ROWS):
            self._warn(call, "all-columns", f"{verb}() over all columns of a frame with row ids")
        if verb == "to_numpy":
            self._warn(call, "ids-in-array", "to_numpy() of a frame with row ids")
        if verb == "to_dummies" and not call.args and not _keyword(call, "columns"):
            self._warn(call, "open-columns", "to_dummies() of all columns")
        if verb in {"merge", "join"}:
            for argument in call.args:
                self._check_kept(argument, known, f"a frame given to {verb}")

    def _check_values(self, call: ast.Call, verb: str) -> None:
        """Warn of what makes values of a row from other rows: of a frame, a column, or a polars expression."""
        chain = list(_chain(call))
        value = call.args[0] if call.args else _keyword(call, "value")
        strategy = _keyword(call, "strategy")
        if verb in _FILLS and ((value is not None and _has_call(value, _OF_ALL_ROWS)) or strategy is not None):
            self._warn(call, "global-fill", f"{verb}() with a value of all rows")
        elif verb in _LOOKS_AROUND and not _is_within_row(call, chain):
            self._warn(call, "looks-around", f"{verb}()")
        elif verb in _AGGREGATES and any(_verb(one) in _GROUPS for one in chain[1:]):
            self._warn(call, "group-outside", f"groupby(…).{verb}() of a frame with row ids")

    def _check_kept(self, value: ast.expr, known: _Known, what: str) -> None:
        """Warn of a selection of columns without ids where a frame with ids is wanted."""
        lost = known.stripped.get(value.id) if isinstance(value, ast.Name) else _stripping(value, known)
        if lost is not None:
            self._warn(lost, "ids-lost", f"columns without row ids, in {what}")

    def _check_assign(self, statement: ast.Assign, known: _Known) -> None:
        for target in statement.targets:
            is_frame_column = isinstance(target, ast.Subscript) and _is_frame(target.value, known)
            if is_frame_column and _sorts_column(statement.value, known):
                self._warn(statement, "sorted-alone", "a column sorted alone")
            if isinstance(target, ast.Name) and target.id in known.frames:
                lost = _stripping(statement.value, known)
                if lost is not None:
                    self._warn(lost, "ids-lost", f"columns without row ids, kept as {target.id}")

    def _check_split(self, call: ast.Call, known: _Known) -> None:
        names = {argument.id for argument in call.args if isinstance(argument, ast.Name)}
        for name in sorted(names):
            features = known.features.get(name)
            if features is not None and features.rows is not None and features.rows not in names:
                self._warn(call, "rows-left-behind", f"train_test_split of {name} without {features.rows}")
            if name in known.fitted:
                fit = known.fitted[name]
                self._warn(fit, "fitted-before-split", f"{_verb(fit)}() on data that is split afterwards")

    def _check_fit(self, call: ast.Call, verb: str, known: _Known) -> None:
        if verb not in {"fit", "fit_transform"} or not isinstance(call.func, ast.Attribute):
            return
        if _is_transformer(call.func.value, known):
            for argument in call.args[:1]:
                root = _root(argument)
                if root is not None and not isinstance(argument, ast.Subscript):
                    known.fitted[root] = call
        elif len(call.args) > 1:
            self._check_target(call, call.args[0], call.args[1], known)

    def _check_target(self, call: ast.Call, features: ast.expr | None, target: ast.expr | None, known: _Known) -> None:
        """Warn of features, given themselves or by the row references beside them, that hold the target."""
        named = None if target is None else _column_of(target, known)
        if named is None or features is None:
            return
        frame, column = named
        columns, of_frame = _columns_of(features, known)
        if (columns is not None and column in columns) or (columns is None and of_frame == frame):
            self._warn(call, "target-in-features", f"the target {column} is among the features")

    # --- what is known afterwards ---

    def _bind(self, target: ast.expr, value: ast.expr, known: _Known) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            self._bind_several(target.elts, value, known)
            return
        if not isinstance(target, ast.Name):
            return
        name, now = target.id, copy.deepcopy(known)
        known.forget(name)
        if _opens_archive(value, now):
            known.archives.add(name)
        elif _stripping(value, now) is not None:
            known.stripped[name] = value
        elif _is_frame(value, now):
            known.frames.add(name)
        elif (texts := _texts(value, now)) is not None:
            known.lists[name] = texts
        elif (column := _column_of(value, now)) is not None:
            known.columns[name] = column
        elif _is_transformer(value, now):
            known.transformers.add(name)
        elif isinstance(value, ast.Call) and _verb(value) == "fit_transform" and _is_transformer_call(value, now):
            known.fitted[name] = value

    def _bind_several(self, targets: list[ast.expr], value: ast.expr, known: _Known) -> None:
        names = [target.id if isinstance(target, ast.Name) else "" for target in targets]
        now = copy.deepcopy(known)
        for name in names:
            known.forget(name)
        if isinstance(value, ast.Call) and _verb(value) == "split" and len(names) == 2 and _is_method(value):  # noqa: PLR2004
            chosen = value.args[1] if len(value.args) > 1 else _keyword(value, "features")
            frame = value.args[0] if value.args else None
            known.features[names[0]] = known.features[names[1]] = _Features(
                rows=names[1],
                columns=None if chosen is None else _texts(chosen, now) or [],
                frame=frame.id if isinstance(frame, ast.Name) and chosen is None else None,
            )
        elif isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets):
            for target, item in zip(targets, value.elts, strict=True):
                self._bind(target, item, known)


def _bindings(statement: ast.stmt) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what a statement gives names to, with the names."""
    if isinstance(statement, ast.Assign):
        yield from ((target, statement.value) for target in statement.targets)
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        yield statement.target, statement.value
    elif isinstance(statement, ast.With | ast.AsyncWith):
        yield from ((item.optional_vars, item.context_expr) for item in statement.items if item.optional_vars)


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement itself, not those of the blocks in it."""
    for name, value in ast.iter_fields(statement):
        if name in {"body", "orelse", "finalbody", "handlers"}:
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.expr):
                yield item
            elif isinstance(item, ast.withitem):
                yield item.context_expr


def _without_archive(statement: ast.stmt, known: _Known) -> str | None:
    """Return the block of `if archive is None` in which there is none."""
    test = statement.test if isinstance(statement, ast.If) else None
    if not isinstance(test, ast.Compare) or not _is_archive(test.left, known):
        return None
    return "body" if isinstance(test.ops[0], ast.Is) else "orelse" if isinstance(test.ops[0], ast.IsNot) else None


def _plain(known: _Known) -> _Known:
    """Return the same without frames that have row ids."""
    plain = copy.deepcopy(known)
    plain.frames.clear()
    return plain


def _verb(call: ast.expr) -> str:
    """Return the name of what is called, without what it belongs to."""
    function = call.func if isinstance(call, ast.Call) else call
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _is_within_row(call: ast.Call, chain: list[ast.Call]) -> bool:
    """Say whether a call works along columns, or on each value: `transform` of what is not grouped, by a function."""
    axis = _keyword(call, "axis")
    if isinstance(axis, ast.Constant) and axis.value in {1, "columns"}:
        return True
    is_named = bool(call.args) and isinstance(call.args[0], ast.Constant)
    return _verb(call) == "transform" and not is_named and not any(_verb(one) in _GROUPS for one in chain[1:])


def _is_method(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute)


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _chain(node: ast.expr) -> Iterator[ast.Call]:
    """Yield the calls of a chain of methods, the last first."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Call):
            yield node
        node = node.func if isinstance(node, ast.Call) else node.value


def _root(node: ast.expr) -> str | None:
    """Return the name a chain of methods, attributes and subscripts begins with."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _has_call(node: ast.expr | None, verbs: frozenset[str]) -> bool:
    inside = () if node is None else ast.walk(node)
    return any(isinstance(inner, ast.Call) and _verb(inner) in verbs and _is_method(inner) for inner in inside)


def _opens_archive(value: ast.expr, known: _Known) -> bool:
    return isinstance(value, ast.Call) and _verb(value) in {"init", "open"} and _root(value) in known.modules


def _is_archive(node: ast.expr, known: _Known) -> bool:
    return isinstance(node, ast.Name) and node.id in known.archives


def _is_step(decorator: ast.expr, known: _Known) -> bool:
    attribute = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(attribute, ast.Attribute) and attribute.attr == "step" and _is_archive(attribute.value, known)


def _is_frame(node: ast.expr, known: _Known) -> bool:
    """Say whether an expression is known to be a frame with row ids."""
    if isinstance(node, ast.Name):
        return node.id in known.frames
    if isinstance(node, ast.Subscript):
        is_one = isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
        inner = node.value.value if isinstance(node.value, ast.Attribute) and node.value.attr == "loc" else node.value
        return not is_one and _texts(node.slice, known) is None and _is_frame(inner, known)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id in known.steps
        if isinstance(node.func, ast.Attribute):
            if _is_archive(node.func.value, known):
                return node.func.attr in _MAKES_FRAMES
            return node.func.attr in _STAYS_FRAME and _is_frame(node.func.value, known)
    return False


def _is_of_rows(node: ast.expr, known: _Known) -> bool:
    """Say whether a chain of methods begins with a frame with row ids, a column of one, or a polars column."""
    while True:
        if _is_frame(node, known) or (
            isinstance(node, ast.Name) and known.columns.get(node.id, ("",))[0] in known.frames
        ):
            return True
        if isinstance(node, ast.Call):
            if _verb(node) == "col" and _root(node) in {"pl", "polars", "col"}:
                return bool(known.frames)
            node = node.func
        elif isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        else:
            return False


def _texts(node: ast.expr, known: _Known) -> list[str] | None:
    """Return a list of texts, written out or by its name."""
    if isinstance(node, ast.Name):
        return known.lists.get(node.id)
    if isinstance(node, ast.List | ast.Tuple) and node.elts:
        texts = [item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        return texts if len(texts) == len(node.elts) else None
    return None


def _stripping(node: ast.expr, known: _Known) -> ast.expr | None:
    """Return where a frame with row ids loses them by a selection of columns."""
    chosen: ast.expr | None = None
    owner: ast.expr | None = None
    if isinstance(node, ast.Subscript):
        owner, chosen = node.value, node.slice
        if isinstance(owner, ast.Attribute) and owner.attr == "loc" and isinstance(chosen, ast.Tuple):
            owner, chosen = owner.value, chosen.elts[-1]
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _STAYS_FRAME | {"select"}
    ):
        owner = node.func.value
        if node.func.attr == "select":
            chosen = node.args[0] if len(node.args) == 1 else ast.List(elts=node.args)
            chosen = ast.List(elts=[chosen]) if isinstance(chosen, ast.Constant) else chosen
        else:
            return _stripping(owner, known)
    texts = None if chosen is None else _texts(chosen, known)
    if owner is None or texts is None or not _is_frame(owner, known):
        return None
    return None if any(text.startswith("_row_") for text in texts) else node


def _sorts_column(node: ast.expr, known: _Known) -> bool:
    """Say whether an expression sorts a single column of a frame with row ids."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            is_method = isinstance(inner.func, ast.Attribute) and _verb(inner) in {"sort_values", "sort"}
            given = inner.func.value if is_method and isinstance(inner.func, ast.Attribute) else None
            if given is None or _root(given) in {"np", "numpy"}:
                given = inner.args[0] if inner.args and _verb(inner) in {"sort", "sorted"} else None
            column = None if given is None else _column_of(given, known)
            if column is not None and column[0] in known.frames:
                return True
    return False


def _column_of(node: ast.expr, known: _Known) -> tuple[str, str] | None:
    """Return the name of a frame, and of a column of it, that an expression is."""
    if isinstance(node, ast.Name):
        return known.columns.get(node.id)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
        return (node.value.id, node.slice.value) if isinstance(node.slice.value, str) else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known.frames:
        return node.value.id, node.attr
    return None


def _columns_of(features: ast.expr, known: _Known) -> tuple[list[str] | None, str | None]:
    """Return the columns of features, and without these the frame they are all columns of."""
    if isinstance(features, ast.Name):
        split = known.features.get(features.id)
        return ([], None) if split is None else (split.columns, split.frame)
    if isinstance(features, ast.Subscript):
        return _texts(features.slice, known) or [], None
    return [], None


def _is_transformer(node: ast.expr, known: _Known) -> bool:
    if isinstance(node, ast.Name):
        return node.id in known.transformers
    return isinstance(node, ast.Call) and _verb(node).endswith(_TRANSFORMERS) and not _verb(node).islower()


def _is_transformer_call(call: ast.Call, known: _Known) -> bool:
    return isinstance(call.func, ast.Attribute) and _is_transformer(call.func.value, known)
