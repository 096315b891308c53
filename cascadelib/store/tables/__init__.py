"""Tables of scores: read strictly, from a file or a frame to the arguments of a ScoreTable."""
