"""The options of the command line: help, kinds and errors."""

import pytest

from cascadelib.options import COMMANDS, parser_of_all


def test_help_shows_all_defaults():
    """Except those of required options and of columns."""
    (commands,) = [
        action for action in parser_of_all("1.0")._actions if isinstance(action.choices, dict)
    ]
    chosen = {"label", "prediction", "correct", "budget", "accuracy", "loss", "goal", "epsilon"}
    chosen |= {"reference", "models", "default_model", "filter", "metric", "checkpoints"}
    for command in commands.choices.values():
        for action in command._actions:
            takes_value = action.option_strings and action.nargs != 0
            if takes_value and action.dest not in chosen:
                assert "(default: " in action.help, action.dest
            if action.default not in (None, False, "==SUPPRESS=="):
                shown = action.help.replace("5%%", "5%").replace(" 1 2", " [1, 2]")
                assert f"(default: {action.default})" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_function_and_prints_json_on_request(command):
    from cascadelib.__main__ import RUN

    assert command in RUN
    more = {"search": ["--goal", "best"], "evaluate": ["table"]}
    more["extract"] = ["store", "--models", "resnet18"]
    paths = [] if command in ("demo", "warm") else ["path"]
    args = parser_of_all("1.0").parse_args([command, *paths, *more.get(command, []), "--json"])
    assert args.json and args.command == command


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("0.02", 0.02), ("12.5%", 0.125)])
def test_a_share_is_a_fraction_or_a_percentage(text, value):
    args = parser_of_all("1.0").parse_args(["certify", "path", "--epsilon", text])
    assert args.epsilon == pytest.approx(value) and args.delta == 0.05
    with pytest.raises(SystemExit):
        parser_of_all("1.0").parse_args(["certify", "path", "--epsilon", "two%"])
