"""What a conversion did, file by file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cityseg_ext
from cityseg_ext.apis.mask_file import Job, MaskFacts, Outcome
from cityseg_ext.checks import expected
from cityseg_ext.whole_file import write_whole

_GENERATOR = "cityseg_ext.apis.mask_conversion"


@dataclass
class ConversionReport:
    """What happened to each file of a tree.

    Attributes:
        path: the JSON file that :meth:`write` writes.
        settings: of the conversion, for the reader.
        converted: what was done in this run: jobs, and facts about their pixels.
        skipped: what an earlier run had done.
        missing: photographs without a label, with the reason.
        corrupt: label files that were not converted, with the reason.
        left: how many files were not reached, if the run was interrupted.
    """

    path: Path
    settings: dict
    converted: dict[Job, MaskFacts] = field(default_factory=dict)
    skipped: dict[Job, MaskFacts] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    corrupt: dict[Job, str] = field(default_factory=dict)
    left: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many files of each kind."""
        names = ("converted", "skipped", "missing", "corrupt")
        return {name: len(getattr(self, name)) for name in names} | {"left": self.left}

    @property
    def pixels(self) -> dict[str, int]:
        """Sums over all masks that are there now, those of earlier runs included."""
        total: Counter[str] = Counter()
        for facts in (*self.converted.values(), *self.skipped.values()):
            total.update(facts.pixels)
        return dict(total)

    def add(self, outcome: Outcome) -> None:
        """Count one file of the ``left`` ones as converted or corrupt."""
        self.left -= 1
        if outcome.problem is not None:
            self.corrupt[outcome.job] = outcome.problem
        else:
            self.converted[outcome.job] = outcome.facts

    def write(self) -> None:
        """Write the JSON file, whole or not at all."""
        lists = {
            name: [asdict(job) | asdict(facts) for job, facts in sorted(jobs.items())]
            for name, jobs in (("converted", self.converted), ("skipped", self.skipped))
        }
        lists["missing"] = [dict(photo=photo, reason=reason) for photo, reason in sorted(self.missing.items())]
        lists["corrupt"] = [dict(label=job.label, reason=reason) for job, reason in sorted(self.corrupt.items())]
        head = dict(
            generator=_GENERATOR,
            version=cityseg_ext.__version__,
            settings=self.settings,
            counts=self.counts,
            pixels=self.pixels,
        )
        text = json.dumps(head | lists, indent=1, ensure_ascii=False)
        # Names of files need not be valid Unicode: what is not becomes an escape sequence, as JSON has them too.
        write_whole(self.path, text.encode("utf-8", "backslashreplace"))


def check_report_path(path: Path) -> None:
    """Make sure that nothing but an earlier report would be replaced.

    Raises:
        ValueError: if there is another file.
    """
    if not path.exists():
        return
    try:
        ours = json.loads(path.read_text("utf-8")).get("generator") == _GENERATOR
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        rule = "a new file, or an earlier report of this tool"
        raise ValueError(expected("report", rule, f"'{path}', which is another file", "Give another name (--report)."))
