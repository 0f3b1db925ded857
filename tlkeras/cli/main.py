"""The console command `tlkeras COMMAND`: selects the command, parses flags, turns errors into exit codes."""

import atexit
import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

from absl import flags as absl_flags

from tlkeras import __version__, messages
from tlkeras.errors import Interrupted, RunError, UserError, nearest

COMMANDS = {
    "train": "train, evaluate and save the model of a config",
    "evaluate": "evaluate a finished run again",
    "predict": "predict files and folders with a finished run",
    "report": "write the report page of runs again",
    "compare": "compare runs: scores, paired tests, curves, configs",
    "embed": "write feature vectors, nearest training images or clusters of files",
    "extract": "compute the features that a config trains on, with any number of processes",
    "plan": "print what each stage trains, without reading data",
    "list": "list backbones, heads, experiments, sources, ...",
    "inspect": "inspect the data of a config before training on it",
    "shards": "write the rows of a data source into TFRecord or tar files",
    "export": "export the model of a finished run for serving, phones and other frameworks",
    "card": "write a model card and a folder that can be published",
    "demo": "open a local web page to try a finished run",
    "push": "publish a finished run on the Hugging Face Hub or in a folder",
    "merge": "average the weights or answers of finished runs",
    "adapt": "adapt a finished run to data without labels, without its source data",
    "sweep": "run a config many times with different settings or seeds",
    "rank": "rank source models for transfer, without fine-tuning any of them",
    "auto": "search for a good config within a given time",
    "reproduce": "repeat a finished run and compare the results",
    "cache": "show or remove cached features of frozen backbones",
    "profile": "measure the time of a stage: input, trunk, tail, head, update",
    "find_lr": "find a learning rate by a range test",
    "doctor": "show versions, devices, folders and what is not installed",
}


_GO_ON = "The saved state is kept; the same command continues from there."
_OUT_OF_MEMORY = (
    "Out of memory. The saved state is kept. Start again with a smaller data.batch_size, data.image_size or "
    "cache.memory_mb in another --workdir, or run the same command on a machine with more memory."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        argv: Arguments after `tlkeras`. None takes them from the process.

    Returns:
        0 for success, 1 for a failed run, 2 for a mistake of the user, 128 + signal for an interrupted run.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("--help", "-h", "help"):
        messages.result(_overview())
        return 0
    name, *words = argv
    if name == "--version":
        messages.result(f"tlkeras {__version__}")
        return 0
    if name not in COMMANDS:
        return _fail(f"Unknown command {name!r}.{nearest(name, COMMANDS)} Allowed: {', '.join(COMMANDS)}.", 2)
    return _run_command(name, words)


def _run_command(name: str, words: list[str]) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    command = importlib.import_module(f"tlkeras.cli.{name}")
    flags = absl_flags.FlagValues()
    command.define_flags(flags)
    absl_flags.DEFINE_boolean("debug", False, "Print the traceback of an error.", flag_values=flags)
    absl_flags.DEFINE_integer(
        "verbosity",
        0,
        "Level of output: -1 prints only warnings, 0 also notes and progress, 1 everything.",
        flag_values=flags,
    )
    if any(word in ("--help", "-h", "--helpfull", "-help", "--helpshort") for word in words):
        messages.result(_help(name, command, flags))
        return 0
    try:
        arguments = flags([f"tlkeras {name}", *words])[1:]
    except absl_flags.Error as error:
        from tlkeras.cli.hints import flag_mistake

        return _fail(flag_mistake(error, flags, words), 2)
    with messages.verbosity_restored():
        messages.set_verbosity(flags.verbosity)
        return _exit_code(lambda: command.run(flags, arguments), flags)


def _exit_code(run, flags: absl_flags.FlagValues) -> int:
    """Returns the exit code of `run()`. An error is one line on stderr; `--debug` adds its traceback."""
    debug = flags.debug
    try:
        with _sigterm_as_interrupted(), messages.notes_may_wait():
            return run() or 0
    except BrokenPipeError:
        # the reader of the output has ended (`tlkeras list | head`), which is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, RunError, Interrupted, KeyboardInterrupt, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        from tlkeras.cli.hints import place_hint

        return _fail(_sentence(error) + place_hint(error, flags), _code(error))
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(_unforeseen(error), 1)


@contextlib.contextmanager
def _sigterm_as_interrupted():
    """Makes SIGTERM end a command like Ctrl-C: files are closed, locks are released, the exit code is 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise Interrupted(number, f"Stopped by SIGTERM. {_GO_ON}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _code(error: BaseException) -> int:
    if isinstance(error, UserError):
        return 2
    if isinstance(error, Interrupted):
        return 128 + error.signal
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return f"Interrupted. {_GO_ON}"
    if isinstance(error, OSError) and not isinstance(error, UserError | RunError):
        return f"{error.strerror or error}: {error.filename or 'no file named'}"
    return _OUT_OF_MEMORY if isinstance(error, MemoryError) else str(error)


def _unforeseen(error: Exception) -> str:
    """Returns the message for an error that tlkeras did not raise itself."""
    if type(error).__name__ == "ResourceExhaustedError":  # by name: importing TensorFlow takes seconds
        return _OUT_OF_MEMORY
    text = str(error)
    # an error of tlkeras that was raised inside tf.data arrives as text of a TensorFlow error
    if "UserError: " in text:
        return text.partition("UserError: ")[2].partition("\n")[0]
    return f"{type(error).__name__}: {text[:500]} (--debug shows the traceback)"


def _fail(message: str, code: int) -> int:
    messages.error(message)
    return code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: tlkeras COMMAND [--help] [flags]", "", *lines])


def _help(name: str, command, flags: absl_flags.FlagValues) -> str:
    lines = [f"usage: {command.USAGE}", "", command.__doc__.strip(), ""]
    width = max(map(len, flags))
    for flag_name in flags:
        flag = flags[flag_name]
        default = "" if flag.default in (None, False, []) else f" (default: {flag.default})"
        text = flag.help.partition(";\n")[0]  # absl adds a line to flags that may be repeated
        lines.append(f"  --{flag_name:<{width}} {text}{default}")
    return "\n".join(lines)


def entry(*command: str) -> NoReturn:
    """Runs one command as the whole process: the console script, and the files of `scripts/`.

    Args:
        *command: Words before those of the process, such as `train`.
    """
    # Nearly all of a million objects live until the end. Searches for garbage among them took a second in a
    # short training, and one to three seconds at its end.
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
    sys.exit(main([*command, *sys.argv[1:]]))
