"""What the scripts share: the checkout on the path, common options, errors in one line."""

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import _ranks

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
# mmcv warns about compiled operators; nothing here needs any.
warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")


def add_config_options(parser: argparse.ArgumentParser, *, training: bool = False) -> None:
    """Options that `load` understands: those of `cityseg_ext.apis.options`, and where and how to run.

    `training` adds those that only `tools/train.py` has.
    """
    from cityseg_ext.apis.options import OPTIONS

    parser.add_argument("--work-dir", help="where logs and checkpoints go (default: work_dirs/<config name>)")
    for option in OPTIONS:
        if option.everywhere or training:
            argument = dict(option.argument)
            if argument.get("action") == "boolean":
                argument["action"] = argparse.BooleanOptionalAction
            parser.add_argument(option.flag, help=f"{option.help} (default: the config's)", **argument)
    add_device_option(parser)
    add_cfg_options(parser)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="job launcher")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def load(args: argparse.Namespace):
    """The config that the options of a script describe."""
    from cityseg_ext.apis.config import load_config, select_device
    from cityseg_ext.apis.options import OPTIONS

    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    select_device(args.device)
    return load_config(
        args.config,
        work_dir=args.work_dir,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
        **{option.name: getattr(args, option.name, None) for option in OPTIONS},
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Where to compute."""
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="default: the best there is"
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """`--cfg-options`, for every script that builds what a config describes."""
    from mmengine.config import DictAction

    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="any config field, such as optim_wrapper.optimizer.lr=1e-4 or refiner.steps=10; written last",
    )


@contextlib.contextmanager
def progress_bar(text: str):
    """A bar in the terminal, as a function of (done, in all or None if nobody knows); nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("", total=None)

    def progress(done: int, total: int | None) -> None:
        bar.update(task, completed=done, total=total)
        if total is None or done < total:
            bar.start()  # not before: workers are forked first, and a bar has a thread
        elif bar.live.is_started:
            bar.stop()

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """`--trust-checkpoint`, for every script that reads one."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="unpickle whatever an old checkpoint holds besides tensors and plain values; a hostile file then runs its "
        "code, so only for files that you have made or trust",
    )


def say(text: object = "") -> None:
    """Print the result of a script, once, whatever the number of processes."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a user's mistake ends in one line and exit code 2, not in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a name that the terminal lacks letters for must not end a run
    with contextlib.redirect_stdout(io.StringIO()):  # it prints two lines about an optional source of data sets
        import mmseg.datasets  # noqa: F401
    try:
        main()
        sys.stdout.flush()  # here, where an error can be told
        _ranks.leave()
    except BrokenPipeError:  # the reader has gone, as `head` does: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its exit
        sys.exit(141)
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("CITYSEG_TRACEBACK"):
            raise
        message = str(error)
        if "Original Traceback" in message:  # an error of a data loading process carries its traceback as text
            message = message.rstrip().splitlines()[-1].partition(": ")[2]
        where = f" on rank {os.environ['RANK']}" if "RANK" in os.environ else ""
        print(f"error{where}: {message}\n(CITYSEG_TRACEBACK=1 shows where)", file=sys.stderr)
        _ranks.fail(message, 2)
        sys.exit(2)
    except RuntimeError as error:
        if "RANK" in os.environ:
            _ranks.fail_unexpectedly(error)
        raise
    except KeyboardInterrupt:
        _ranks.leave(130)
        sys.exit(130)
    except SystemExit as stop:  # a training run that was told to stop: docs/reliability.md has the codes
        _ranks.leave(stop.code if isinstance(stop.code, int) else 1)
        raise
