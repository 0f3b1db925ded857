"""Opens a local web page on which a finished run can be tried with pictures, sounds or texts.

The page shows classes with their probabilities, a conformal set, a heat map, the nearest training rows, and
whether the input is unlike the training data. Ctrl-C ends it.
"""

import os
import sys
import webbrowser

from absl import flags as absl_flags

from tlkeras import demo, messages, runs
from tlkeras.backend import import_tensorflow
from tlkeras.cli.common import one_run

USAGE = "tlkeras demo RUN [--host=NAME] [--port=N] [--coverage=.9] [--nobrowser]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen on. 0.0.0.0 lets other machines use the page.",
        flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_integer(
        "port", None, "Port to listen on. The default is the first free one from 8765 on.",
        lower_bound=1, upper_bound=65535, flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_float(
        "coverage", 0.9, "Share of inputs whose true class a conformal set should contain.",
        lower_bound=0.01, upper_bound=0.999, flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_boolean("browser", True, "Open the page in the browser.", flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    path = one_run(arguments)
    demo.server.require_server()
    import_tensorflow()
    opened = runs.saved_run.load_run(path)
    answers = demo.answers.Answers(opened, flags.coverage)
    with demo.server.listening(flags.host, flags.port) as socket:
        messages.note("Reading the training rows ...")
        if isinstance(answers.training, str):
            messages.note(f"The nearest training rows are not shown: {answers.training}")
        demo.server.serve(opened, answers, socket, lambda address: _show(address, flags.browser))


def _show(address: str, in_browser: bool) -> None:
    """Prints the address of the page, and opens it where there is a screen."""
    messages.result(f"The page is at {address} (Ctrl-C ends it).")
    if in_browser and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
        webbrowser.open(address)
