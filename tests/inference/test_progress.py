"""How far a prediction is."""

from rescrnet.inference.progress import progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_away_from_a_terminal_a_line_a_minute_says_how_long_it_will_take(capsys):
    clock = Clock()
    with progress(10, clock) as advance:
        advance(4)  # by a run before this one, found at once: it says nothing about the speed
        for _ in range(3):
            clock.now += 40
            advance(1)
    # After 80 s and two more of ten, four are left.
    assert capsys.readouterr().err == "60.0 % predicted, about 3 min left\n"


def test_a_short_prediction_says_nothing(capsys):
    with progress(1, Clock()) as advance:
        advance(1)
    assert capsys.readouterr().err == ""
