"""Count words and patterns of the project's private dialect in prose, as hits per 1,000 words.

    python tests/checks/dialect.py docs/testing.md    # lists each hit

Prose is Markdown outside of code, and docstrings, comments and strings of four words or more.
Rules with a plus can mostly be replaced word for word; those with a star need another sentence.
"""

import ast
import io
import json
import re
import sys
import tokenize
from pathlib import Path

# {what to look for -> what to write: regular expression}
RULES = {  # what to look for -> what to write: regular expression
    "+ is right on N% -> accuracy": r"\b(?:is|are|was|were) right on\b",
    "+ certainly -> significantly": r"\bcertainly (?:worse|better|another|different)\b",
    "+ beside -> alongside, next to": r"\bbeside\b",
    "+ dear(er) -> (more) expensive": r"\bdear(?:er|est)?\b",
    "+ in the place of -> instead of": r"\bin (?:the )?place of\b|\btakes? the place of\b",
    "+ anew -> again, re-": r"\banew\b",
    "+ promise -> guarantee": r"\bpromis(?:e|es|ed)\b",
    "+ room/ground/face/door": r"\brooms?\b(?! for| to\b)|\b(?:the|on) ground\b|\bfaces are\b|\bon the face\b|\bThe door\b",
    "+ samples leave -> exit": r"\b(?:samples?|inputs?|rows?|who|which) (?:that )?(?:leaves?|left|leave)\b",
    "+ moved -> transferred": r"\bmoved (?:split|front|point)|\b(?:is|was|been) moved to\b",
    "+ judge -> evaluate, test": r"\bjudg(?:e|es|ed)\b",
    "+ twin -> reference impl., variant": r"\btwins?\b",
    "+ rung, surer, honour": r"\brungs?\b|\bsur(?:er|est)\b|\bhonour\b",
    "+ at once -> simultaneously": r"\bat once\b",
    "+ tell apart, part -> distinguish": r"\b(?:tells?|told)\b[^.\n]{0,30}\bapart\b|\bparts? no\b",
    "+ of now/before -> current, earlier": r"\bof (?:now|before|yesterday|today)\b",
    "+ ask a model -> call, query": r"\bask(?:s|ed|ing)? (?:the|both|about|of|models?)\b",
    "+ go on -> continue, be deferred": r"\bgo(?:es)? on\b|\bgoing on\b",
    "* comes to -> name the quantity": r"\bc[ao]mes?[ \n]+to\b(?! mind| an end)",
    "* so many/much -> name the number": r"\bso (?:many|much|few)\b",
    "* headless what -> name the thing": r"(?m)(?:^|[.;:,(] |\b(?:of|for|by|than|from|and) )[Ww]hat (?!if\b|about\b|do(?:es)?\b|to\b|you\b)\w+(?![^.\n]*\?)",
    "* where -> if, when, for which": r"\b[Ww]here (?:there|no|none|it|they|that|any|nothing|both|one|somebody)\b",
    "* is no X -> is not a X": r"\b(?:is|are|was|were) no (?!longer|more|less|need|way|such|guarantee|reason)\w+(?=[\s,.;:)])",
    "* file/point says -> stores, gives": r"\b(?:file|table|point|header|manifest|store|certificate|line|model|batch|policy) says?\b",
    "* stands, lies -> is": r"\bstands?\b(?! for| out)|\blies\b",
    "* nobody/somebody/whoever": r"\bnobody\b|\bsomebody\b|\bwhoever\b",
    "* asked of, known of, read of": r"\b(?:asked|read|known|said|told) of\b",
    "* its like, the one before": r"\bits like\b|\balike\b|\bthe (?:ones?|format|model|stage) before\b",
    "* that is there -> exists": r"\b(?:that|which|what|who|it|they|none) (?:is|are|was|were) there\b",
    "* as it is -> unchanged": r"\bas (?:it|they) (?:is|are|was|were|stands?)\b",
    "* descriptor 'Of the draw.'": r"(?m)^[ \t]+Of (?!course)\w+\b[^.\n]{0,60}\.[ \t]*$",
    "* Raises 'For a rate ...'": r"Error\n[ \t]+For (?!more|further)\w+",
}


def prose_of_code(text):
    """Return the strings and comments of Python source, or "" for other text."""
    try:
        tree = ast.parse(text)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, tokenize.TokenError):
        return ""
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    strings = [value for value in values if isinstance(value, str) and len(value.split()) >= 4]
    comments = [token.string.lstrip("#: ") for token in tokens if token.type == tokenize.COMMENT]
    return "\n".join(strings + comments)


def prose_of(path):
    """Return the prose of a Python file, a notebook or a Markdown page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return prose_of_code(text)
    if path.suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        return "\n".join(prose_of_code(s) if kind == "code" else s for kind, s in cells)
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`\n]*`", "x", text))


def files_of(root):
    """Return a file itself, or the files with prose in a folder."""
    found = [root] if root.is_file() else sorted(root.rglob("*"))
    found = [
        path for path in found if path.name != Path(__file__).name
    ]  # its patterns are no prose
    return [path for path in found if path.suffix in (".py", ".md", ".ipynb") and path.is_file()]


def hits(text):
    """Yield (rule, match) for each hit in prose."""
    for rule, pattern in RULES.items():
        for match in re.finditer(pattern, text):
            yield rule, match


def rate(root):
    """Return the hits per 1,000 words of a file or folder."""
    texts = [prose_of(path) for path in files_of(root)]
    words = sum(len(text.split()) for text in texts)
    return 1000 * sum(1 for text in texts for _ in hits(text)) / max(1, words)


if __name__ == "__main__":
    for root in map(Path, sys.argv[1:]):
        for path in files_of(root):
            for rule, match in hits(prose_of(path)):
                start, end = match.span()
                words = match.string[max(0, start - 40) : end + 40].split()
                print(f"{path}: {rule}: …{' '.join(words)}…")
        print(f"{root}: {rate(root):.2f} hits per 1,000 words")
