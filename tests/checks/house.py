"""Measures of code that do not depend on its layout: tokens, nested expressions."""

import ast
import io
import tokenize

LAYOUT = {
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.COMMENT,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def parsed(path):
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring_lines(tree):
    """Return the numbers of the lines that docstrings take."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return lines


def code_tokens(source):
    """Return the numbers of tokens and of lines with code. Docstrings and comments have none.

    An f-string is one token, also for Python 3.12 and later, which divide it.
    """
    free = docstring_lines(ast.parse(source))
    tokens = 0
    lines = set()
    f_strings = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        f_strings -= kind == "FSTRING_END"
        is_counted = not f_strings and kind != "FSTRING_END"
        f_strings += kind == "FSTRING_START"
        if is_counted and token.type not in LAYOUT and token.start[0] not in free:
            tokens += 1
            lines.add(token.start[0])
    return tokens, len(lines)


def complexity(function):
    """Return 1 + the number of branches, loops, handlers, comprehensions and further conditions."""
    branches = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.Assert)
    count = 1
    for node in ast.walk(function):
        if isinstance(node, (*branches, ast.comprehension)):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


def functions(tree):
    """Return all functions of a file, also methods and inner functions."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def is_unrelated(node):
    """Return whether a node assigns several new values, as ``a, b = f(x), []`` does.

    A swap does not.
    """
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    values = {ast.unparse(value) for value in node.value.elts}
    for target in node.targets:
        if isinstance(target, ast.Tuple) and {ast.unparse(e) for e in target.elts} != values:
            return True
    return False


def is_nested(node, kinds):
    """Return whether a node of these kinds contains another of these kinds."""
    if not isinstance(node, kinds):
        return False
    return any(isinstance(inner, kinds) for inner in ast.walk(node) if inner is not node)


def lines_where(tree, is_found):
    """Return the lines of the statements and expressions for which ``is_found`` holds."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr) and is_found(node):
            lines.append(node.lineno)
    return lines


def unrelated_assignments(tree):
    """Return the lines that assign unrelated values in one statement."""
    return lines_where(tree, is_unrelated)


def nested_conditionals(tree):
    """Return the lines of conditional expressions that contain another."""
    return lines_where(tree, lambda node: is_nested(node, (ast.IfExp,)))


def nested_comprehensions(tree):
    """Return the lines of comprehensions that contain another."""
    return lines_where(tree, lambda node: is_nested(node, COMPREHENSIONS))
