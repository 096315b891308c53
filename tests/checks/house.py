"""How code reads, counted whatever its layout: tokens, statements that say two things, names."""

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
VAGUE = {"sure", "right"}  # the words of the field are confidence and correct


def parsed(path):
    """Syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring_lines(tree):
    """Numbers of the lines on which docstrings stand."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return lines


def code_tokens(source):
    """(tokens of code, lines that have some): docstrings, comments and blank lines are free."""
    free = docstring_lines(ast.parse(source))
    tokens = 0
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT and token.start[0] not in free:
            tokens += 1
            lines.add(token.start[0])
    return tokens, len(lines)


def is_unrelated(node):
    """Whether a node assigns several values at once and is no swap: ``a, b = f(x), []``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    values = {ast.unparse(value) for value in node.value.elts}
    for target in node.targets:
        if isinstance(target, ast.Tuple) and {ast.unparse(e) for e in target.elts} != values:
            return True
    return False


def holds_its_like(node, kinds):
    """Whether a node of these kinds holds another of these kinds."""
    if not isinstance(node, kinds):
        return False
    return any(isinstance(inner, kinds) for inner in ast.walk(node) if inner is not node)


def lines_where(tree, is_found):
    """Lines of the statements and expressions that are found."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr) and is_found(node):
            lines.append(node.lineno)
    return lines


def unrelated_assignments(tree):
    """Lines that assign unrelated values in one statement."""
    return lines_where(tree, is_unrelated)


def nested_conditionals(tree):
    """Lines of conditional expressions that hold another."""
    return lines_where(tree, lambda node: holds_its_like(node, (ast.IfExp,)))


def nested_comprehensions(tree):
    """Lines of comprehensions that hold another."""
    return lines_where(tree, lambda node: holds_its_like(node, COMPREHENSIONS))


def identifiers(tree):
    """(name, line) of each variable, parameter, attribute and function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno


def vague_names(tree):
    """Lines with a name that says sure or right, alone or as one of its words."""
    found = []
    for name, line in identifiers(tree):
        words = name.lower().split("_")
        if VAGUE & {word.removesuffix("s") for word in words}:
            found.append(line)
    return found
