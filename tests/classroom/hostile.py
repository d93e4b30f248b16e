"""A small assignment of three answers, and what a submission may put into the first of them."""

from __future__ import annotations

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.classroom.course import Course


def _cell(source, name, grade=False, solution=False, locked=False, points=None, make=new_code_cell):
    facts = {"grade": grade, "solution": solution, "locked": locked, "task": False, "grade_id": name}
    facts |= {"schema_version": 3, "cell_type": "markdown" if make is new_markdown_cell else "code"}
    facts |= {"points": points} if points else {}
    return make(source, id=name.replace("_", "-"), metadata={"nbgrader": facts})


def answer(name, body):
    source = f"def {name}(x):\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION"
    return _cell(source, name, solution=True)


def test(source, name, points):
    return _cell(source, name, grade=True, locked=True, points=points)


def source():
    """double (1 + 1 points), half (2 points), a question (3 points by hand)."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    hidden = "# Hidden test.\n### BEGIN HIDDEN TESTS\nassert close(double(21.5), 43)\n### END HIDDEN TESTS"
    return new_notebook(
        metadata={"kernelspec": kernel, "labkit": {"points": 7, "by_hand": 3}},
        cells=[
            _cell("import math\n\n\ndef close(a, b):\n    return math.isclose(a, b)", "helper", locked=True),
            answer("double", "return 2 * x"),
            test("assert close(double(2), 4)", "double_visible", 1),
            test(hidden, "double_hidden", 1),
            answer("half", "return x / 2"),
            test("assert half(8) == 4", "half_visible", 2),
            _cell(
                "Because a half is the other half.", "why", grade=True, solution=True, points=3, make=new_markdown_cell
            ),
        ],
    )


def course(folder, config=""):
    """A course in `folder` that has this assignment alone, "mini", and this nbgrader_config.py."""
    (folder / "source" / "mini").mkdir(parents=True)
    nbformat.write(source(), folder / "source" / "mini" / "mini.ipynb")
    (folder / "nbgrader_config.py").write_text(config, encoding="utf-8")
    return Course.at(folder)


# name -> the answer "double", and the points it gets of double_visible, double_hidden and half_visible
RUNNING_WILD = {
    "endless_output": ("while True:\n    print('x' * 1000)", (0, 0, 2)),
    "endless_loop": ("while True:\n    pass", (0, 0, 2)),
    "endless_call": ("def double(x):\n    while True:\n        pass", (0, 0, 2)),
    "deaf": ("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass", (0, 0, 0)),
    "kills_its_kernel": ("import os\nos._exit(1)", (0, 0, 0)),
    "asks_for_memory": ("x = [0] * 10**12\ndef double(x):\n    return 2 * x", (0, 0, 2)),
    "warns": ("import sys\ndef double(x):\n    print('slow', file=sys.stderr)\n    return 2 * x", (0, 0, 2)),
}
RIGHT = "def double(x):\n    return 2 * x\n"
SENDS = (
    "k = get_ipython().kernel\n"
    "def send(kind, content):\n"
    "    k.session.send(k.iopub_socket, kind, content, parent=k.get_parent())\n"
)
# Messages in the kernel's name that are not as the protocol has them.
RUNNING_WILD |= {
    "sends_no_comm_id": (f"{SENDS}send('comm_msg', {{'data': {{'state': {{}}}}}})\n{RIGHT}", (1, 1, 2)),
    "sends_odd_messages": (
        f"{SENDS}for kind in ('comm_open', 'stream', 'display_data', 'status', 'nonsense'):\n    send(kind, {{}})\n"
        "send('stream', {'name': 3, 'text': None})\n"
        f"send('display_data', {{'data': 1, 'metadata': 2, 'transient': {{'display_id': []}}}})\n{RIGHT}",
        (1, 1, 2),
    ),
    "sends_garbage": (f"{SENDS}k.iopub_socket.send_multipart([b'x'])\n{RIGHT}", (0, 0, 0)),
}
# A value shown before the assertion that fails: nbgrader alone takes it for the score.
SHOWING_VALUES = {
    "shows_a_number": ("def double(x):\n    get_ipython().displayhook(1)", (0, 0, 2)),
    "shows_too_much": ("def double(x):\n    get_ipython().displayhook(1000)", (0, 0, 2)),
}
# What no grader in the same process can prevent.
CHEATING = {
    "reads_the_test": (
        "import linecache, sys\n"
        "def double(x):\n"
        "    print(''.join(linecache.getlines(sys._getframe(1).f_code.co_filename)))\n"
        "    return 2 * x",
        (1, 1, 2),
    ),
    "overwrites_a_helper": ("def close(a, b):\n    return True\ndef double(x):\n    return None", (1, 1, 2)),
    "removes_asserts": (
        "import ast\n"
        "class Without(ast.NodeTransformer):\n"
        "    def visit_Assert(self, node):\n"
        "        return ast.Pass()\n"
        "get_ipython().ast_transformers.append(Without())",
        (1, 1, 2),
    ),
}
