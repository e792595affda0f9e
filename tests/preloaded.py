"""What a process is forked with (see tests/forked.py): all that a sweep with its report imports."""

import tensorboard.backend.event_processing.event_accumulator  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import posenc.callbacks.tensorboard
import posenc.catalog.encodings
import posenc.figures.lengths
import posenc.jobs.run
import posenc.report.reading.ledger
import posenc.report.write  # noqa: F401
import train  # noqa: F401
