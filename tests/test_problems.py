"""A mistake of the user's comes back whole from another process."""

import pickle

from validators.problems import Problem, Problems


def test_problems_are_the_same_after_a_way_between_processes():
    error = Problems([Problem("a.jsonl", "a ZIP archive", "JSON", "unpack it"), Problem("b", "c")])
    copy = pickle.loads(pickle.dumps(error))
    assert copy.problems == error.problems
    assert str(copy) == str(error)
