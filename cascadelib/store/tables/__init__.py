"""Tables of scores, from a file or a frame to the checked arguments of a ScoreTable."""
