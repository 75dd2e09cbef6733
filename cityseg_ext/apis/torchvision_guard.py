"""Runs go on where torchvision is installed and broken, as nothing here needs it."""

from __future__ import annotations

import importlib
import logging
import sys

from mmengine.logging import print_log


def hide_broken_torchvision() -> None:
    """Let a torchvision that does not import count as none, with a warning.

    mmengine imports it for the list of versions in its log, and lets whatever that raises end the run. A build for
    another version of PyTorch is the usual cause.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:  # it is optional
        return
    except Exception as error:  # an OSError, a RuntimeError or an AttributeError, whatever does not fit
        sys.modules["torchvision"] = None  # Python's way to say that there is no such module
        cure = "`python -m cityseg_ext doctor` says how to mend that."
        message = f"torchvision is installed and does not import ({error}); the run goes on without it. {cure}"
        print_log(message, logger="current", level=logging.WARNING)
