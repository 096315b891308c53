"""What several tests of guarantees share."""

import pytest


@pytest.fixture
def capture(monkeypatch):
    """Return capture(module, name, answer). It replaces the function by one that returns the answer
    and returns the list of the arguments of its calls."""

    def replaced(module, name, answer):
        calls = []

        def stand_in(*arguments):
            calls.append(arguments)
            return answer

        monkeypatch.setattr(module, name, stand_in)
        return calls

    return replaced
